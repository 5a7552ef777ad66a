"""How far a run is, from its folder: stages done, step of how many, pace, curve."""

import json

import pytest

from workbench.jobs.progress import RunProgress
from workbench.jobs.tailing import read_metrics_since
from wovr_core.config import to_dict
from wovr_core.files import write_json
from wovr_core.stages.collect import CollectConfig
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.train_policy_sft import PolicySFTConfig


def lines(run, stage, phase, *steps):
    with (run / stage / "metrics.jsonl").open("a") as file:
        for step in steps:
            values = {"phase": phase, "step": step, "loss": 10.0 / step, "x": 1.0, "seconds": 2.0 * step}
            file.write(json.dumps(values) + "\n")


@pytest.fixture
def run(tmp_path):
    """A run at step 10 of 40 of its second stage, written by the stages' own StageFolder."""
    inputs = {"tasks": "[0, 3]"}
    StageFolder(tmp_path / "collect", "collect", CollectConfig(clean=3, faulty=2), inputs)
    StageFolder(tmp_path / "sft", "train_policy_sft", PolicySFTConfig(steps=40), {})
    write_json(tmp_path / "collect" / "outputs.json", {})
    lines(tmp_path, "sft", "training", 5, 10)
    return tmp_path


def test_the_running_stage_is_found_with_its_pace(run):
    progress = RunProgress(run, ["collect", "sft", "rl"])
    progress.add(read_metrics_since(run))
    now = progress.now()
    assert (now.stage, now.phase, now.done, now.stages) == ("sft", "training", 1, 3)
    assert (now.step, now.total, now.fraction) == (10, 40, 0.25)
    assert now.seconds_left == pytest.approx(60.0)  # 30 steps at 2 s
    assert (now.curve_name, now.curve) == ("loss", (2.0, 1.0))


def test_episodes_count_for_every_task(run):
    (run / "collect" / "outputs.json").unlink()
    now = RunProgress(run, ["collect", "sft"]).now()
    assert (now.stage, now.total, now.done) == ("collect", 10, 0)


def test_a_resumed_stage_forgets_what_it_does_again(run):
    progress = RunProgress(run, ["collect", "sft"])
    first = read_metrics_since(run)
    progress.add(first)
    (run / "sft" / "metrics.jsonl").unlink()
    lines(run, "sft", "training", 5)
    progress.add(read_metrics_since(run, first.cursor))
    assert progress.now().step == 5


def test_nothing_yet_and_nothing_known(tmp_path):
    assert RunProgress(tmp_path / "nothing").now().stage == ""
    write_json(
        tmp_path / "odd" / "config.json", {"stage": "unheard_of", "config": to_dict(CollectConfig()), "inputs": {}}
    )
    lines(tmp_path, "odd", "", 3)
    progress = RunProgress(tmp_path)
    progress.add(read_metrics_since(tmp_path))
    now = progress.now()
    assert (now.stage, now.step, now.total, now.fraction) == ("odd", 3, None, None)


def test_totals_are_those_of_the_finished_smoke_run(smoke_run):
    """Each loop's last logged step is the total that was foretold for it."""
    for stage in sorted(path.parent.name for path in smoke_run.glob("*/config.json")):
        progress = RunProgress(smoke_run, [stage])
        chunk = read_metrics_since(smoke_run)
        seen = set()
        for phase in {line["phase"] for line in chunk.lines if line["stage"] == stage}:
            progress = RunProgress(smoke_run, [stage])
            own = tuple(line for line in chunk.lines if line["stage"] == stage and line["phase"] == phase)
            progress.add(type(chunk)(own))
            now = progress.now()
            if now.total is not None and stage not in ("keyframes", "keyframes_evolved"):  # as many as there are
                assert now.step == now.total, (stage, phase)
                seen.add(phase)
        if stage not in ("audit", "keyframes", "keyframes_evolved"):
            assert seen, stage
