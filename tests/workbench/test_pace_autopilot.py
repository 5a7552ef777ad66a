"""The autopilot's graph of versions, and the command from end to end at smoke size."""

import json
import shutil

import pytest

from apps.cli import main
from workbench.pace_plot import Link, graph_of, lineage_figure
from wovr_core.pace_loop import state_of


def entry(number, used, policy, **changes):
    return {
        "round": number, "practised_with": dict(zip(("policy", "world_model", "reward"), used, strict=True)),
        "policy": policy, "action": "wait", "reason": "drift 0.1", "drift": 0.1, "error": None, "candidates": {},
        "promoted": {}, "before": {}, "after": {}, "spent": 0,
    } | changes  # fmt: skip


ENTRIES = [
    entry(1, ("p0", "w0", "r0"), "p1"),
    entry(
        2, ("p1", "w0", "r0"), "p2", action="refine", error=7.5, spent=13,
        candidates={"world_model": "w1", "reward": "r1"}, promoted={"world_model": True, "reward": False},
        before={"world_model_error": 9.0, "reward_log_loss": 0.2},
        after={"world_model_error": 8.0, "reward_log_loss": 0.3},
    ),
    entry(3, ("p2", "w1", "r0"), "p3"),
]  # fmt: skip


def test_the_graph_holds_every_version_and_what_it_came_from():
    nodes, links = graph_of(ENTRIES)
    rounds = {(n.kind, n.version): n.round for n in nodes}
    assert rounds["policy", "p0"] == rounds["world_model", "w0"] == rounds["reward", "r0"] == 0
    assert [rounds["policy", f"p{i}"] for i in (1, 2, 3)] == [1, 2, 3]
    assert {n.version for n in nodes if not n.kept} == {"r1"}
    assert Link(("world_model", "w1"), ("policy", "p3")) in links
    assert Link(("policy", "p2"), ("world_model", "w1")) in links
    assert Link(("reward", "r1"), ("policy", "p3")) not in links  # rolled back: nobody practised with it
    assert len(nodes) == len(rounds) == 8


def test_the_figure_marks_what_was_rolled_back():
    figure = lineage_figure(ENTRIES)
    traces = {t.name: t for t in figure.data}
    assert traces["reward, rolled back"].hovertext == ("r1<br>held-out reward log loss 0.200 to 0.300<br>rolled back",)
    assert traces["world model"].text == ("w0", "w1")
    assert "13 real episodes" in traces["policy"].hovertext[2]


@pytest.mark.slow
def test_rounds_on_libero_within_the_budget(smoke_run, tmp_path, capsys):
    """The first round refines, the second finds the budget spent; a second call changes nothing."""
    run = tmp_path / "pilot"
    shutil.copytree(smoke_run, run)
    argv = ["autopilot", str(run), "--rounds", "2", "--budget", "5", "--probe-episodes", "1"]
    argv += ["--drift", "0", "--probe-drift", "0"]
    assert main(argv) == 0
    first, second = (json.loads(line) for line in (run / "autopilot.jsonl").read_text().splitlines())
    assert (first["action"], first["spent"]) == ("refine", 4)  # one looked at, three to refine on
    assert (second["action"], second["spent"]) == ("wait", 5)
    assert "3 real episodes are needed and 0 are left" in second["reason"]
    assert first["error"] > 0
    for kind, error in (("world_model", "world_model_error"), ("reward", "reward_log_loss")):
        better = first["after"][error] < first["before"][error]
        assert first["promoted"][kind] == better
        kept = first["candidates"][kind] if better else first["practised_with"][kind]
        assert first[kind] == second["practised_with"][kind] == kept
    assert "round 2: wait" in capsys.readouterr().out
    assert "rolled back" in (run / "autopilot.html").read_text() or all(first["promoted"].values())
    before = (run / "autopilot.jsonl").read_text()
    assert main(argv) == 0
    assert (run / "autopilot.jsonl").read_text() == before
    assert state_of(run).spent == 0  # the main job is as it was
