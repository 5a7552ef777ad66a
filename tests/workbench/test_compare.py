"""Comparisons against counts and formulas worked out here, and refusals that say what is not shared."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.compare import (
    compare_policies,
    comparison_json,
    config_difference,
    episode_path,
    evaluations,
    find_evaluation,
)
from workbench.compare_models import compare_models, find_model, world_models
from workbench.scrubber.payload import PayloadError
from workbench.side_by_side import side_by_side
from workbench.starter import DATA
from wovr_core.data.episode_files import write_rollout
from wovr_core.errors import UnknownNameError
from wovr_core.files import write_json

ENV = (
    "LiberoConfig(suite='libero_object', size=64, profile='fast', camera='agentview', "
    "view='workspace', settle_steps=10, joint_noise=0.02)"
)


def evaluate(run: Path, stage: str, outcomes: dict[str, list[bool]], **changes: Any) -> str:
    """Writes an evaluation as the stage does; returns its id."""
    env, policy, seed = changes.get("env", ENV), changes.get("policy", "aaaaaaaaaaaa"), changes.get("seed", "0")
    config = {"trials": 2, "temperature": changes.get("temperature", 1.0), "max_steps": changes.get("max_steps", 160)}
    inputs = {"env": env, "policy": policy, "seed": seed, "tasks": "[0]"}
    write_json(run / "run.json", {"schema": 1, "recipe": "demo", "config": {"name": "demo"}})
    write_json(run / stage / "config.json", {"stage": "evaluate", "config": config, "inputs": inputs})
    write_json(run / stage / "outputs.json", {"outputs": {"policy": policy, "outcomes": outcomes}, "seconds": 1.0})
    return f"{run.name}/{stage}"


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson 1927, written out."""
    z = 1.959963984540054
    p, centre = k / n, (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(n * p * (1 - p) + z * z / 4)
    return centre - half, centre + half


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(first: dict[str, list[bool]], second: dict[str, list[bool]], **changes: Any) -> dict[str, Any]:
        a = evaluate(tmp_path / "a", "evaluate_base", first)
        b = evaluate(tmp_path / "b", "evaluate", second, policy="bbbbbbbbbbbb", **changes)
        runs = {"a": tmp_path / "a", "b": tmp_path / "b"}
        return comparison_json(compare_policies(find_evaluation(runs, a), find_evaluation(runs, b)))

    return make


def test_pairs_intervals_and_p_are_those_of_the_formulas(compared: Callable[..., dict[str, Any]]) -> None:
    """12 pairs: 3 both, 1 only the first, 6 only the second, 2 neither."""
    first = [True] * 3 + [True] + [False] * 6 + [False] * 2
    second = [True] * 3 + [False] + [True] * 6 + [False] * 2
    found = compared({"0": first[:6], "3": first[6:]}, {"0": second[:6], "3": second[6:]})
    pairs = found["paired"]
    assert [pairs[k] for k in ("both", "only_first", "only_second", "neither")] == [3, 1, 6, 2]
    assert pairs["difference"] == pytest.approx(5 / 12)
    assert pairs["p_value"] == pytest.approx(2 * sum(math.comb(7, i) for i in (0, 1)) / 2**7)
    assert (found["first"]["rate"]["low"], found["first"]["rate"]["high"]) == pytest.approx(wilson(4, 12))
    assert (found["second"]["rate"]["low"], found["second"]["rate"]["high"]) == pytest.approx(wilson(9, 12))
    # Newcombe 1998, method 10: 3 * 2 - 6 * 1 = 0, so phi = 0.
    (l1, u1), (l2, u2) = wilson(9, 12), wilson(4, 12)
    p1, p2 = 9 / 12, 4 / 12
    low = p1 - p2 - math.hypot(p1 - l1, u2 - p2)
    high = p1 - p2 + math.hypot(u1 - p1, p2 - l2)
    assert (pairs["low"], pairs["high"]) == pytest.approx((low, high))
    flips = [(f["task"], f["init"], f["gained"]) for f in found["flipped"]]
    assert flips == [(0, 3, False), (0, 4, True), (0, 5, True), *[(3, i, True) for i in range(4)]]
    assert len(found["pairs"]) == 12


def test_only_shared_trials_are_paired_and_the_others_are_told(compared: Callable[..., dict[str, Any]]) -> None:
    found = compared({"0": [True, False, True], "1": [True, True]}, {"0": [True, True], "2": [False]}, seed="7")
    assert (found["shared"], found["only_first"], found["only_second"]) == (2, 3, 1)
    assert found["paired"]["trials"] == 2
    assert (found["first"]["rate"]["successes"], found["first"]["rate"]["trials"]) == (1, 2), "of the shared ones"
    assert any("3 of the first's trials have no partner" in note for note in found["notes"])
    assert any("seed 0, against 7" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_steps": 200}, "160 actions, the other 200"),
        ({"env": ENV.replace("size=64", "size=32")}, "size = 64, against 32"),
        ({"env": ENV.replace("libero_object", "libero_goal")}, "'libero_object', against 'libero_goal'"),
        ({"env": ENV.replace("joint_noise=0.02", "joint_noise=0.1")}, "joint_noise = 0.02, against 0.1"),
    ],
)
def test_what_would_be_another_trial_is_not_paired(
    compared: Callable[..., dict[str, Any]], changes: dict[str, Any], told: str
) -> None:
    found = compared({"0": [True, False]}, {"0": [True, True]}, **changes)
    assert found["paired"] is None
    assert found["flipped"] == []
    assert told in found["obstacles"][0]
    assert found["second"]["rate"]["successes"] == 2, "each one's own rate is still told"


def test_no_common_start_is_refused_and_streams_do_not_matter(compared: Callable[..., dict[str, Any]]) -> None:
    assert "no initial state of a task in common" in compared({"0": [True]}, {"1": [True]})["obstacles"][0]
    streams = ENV.replace("joint_noise=0.02", "joint_noise=0.02, streams=('wrist', 'depth')")
    assert compared({"0": [True]}, {"0": [True]}, env=streams)["paired"] is not None


def test_a_policy_that_its_run_does_not_hold_is_called_by_the_stage_that_made_it() -> None:
    """As in the starter pack, which holds one policy only: rounded, and so under a version of its own."""
    found = evaluations({"starter": DATA / "run"})
    assert [one.title.split(" · ")[0] for one in found] == ["base", "round 2"]
    assert find_evaluation({"starter": DATA / "run"}, found[0].id).title == found[0].title


def test_evaluations_are_found_and_named_and_broken_ones_passed_over(tmp_path: Path) -> None:
    evaluate(tmp_path / "a", "evaluate_base", {"0": [True, False]})
    write_json(tmp_path / "a" / "sft" / "config.json", {"stage": "train_policy_sft"})
    write_json(tmp_path / "a" / "sft" / "outputs.json", {"outputs": {}})
    (tmp_path / "a" / "bad").mkdir()
    (tmp_path / "a" / "bad" / "outputs.json").write_text("{")
    runs = {"a": tmp_path / "a"}
    (found,) = evaluations(runs)
    assert found.summary()["grid"] == {"0": [True, False]}
    assert found.title == "policy · aaaaaaaa", "a policy that is not there has no name of its own"
    assert episode_path(runs, found, (0, 1)).name == "libero_object-0-init01.safetensors"
    with pytest.raises(UnknownNameError):
        episode_path(runs, found, (0, 2))


def test_evaluations_are_in_the_order_of_the_pipeline_then_of_time(tmp_path: Path) -> None:
    stages = ["later", "evaluate", "evaluate_base", "again"]
    for age, stage in enumerate(stages):  # as unpacked: the last one first
        evaluate(tmp_path / "a", stage, {"0": [True]})
        os.utime(tmp_path / "a" / stage / "outputs.json", (1000 + age, 1000 + age))
    assert [e.stage for e in evaluations({"a": tmp_path / "a"})] == ["evaluate_base", "evaluate", "later", "again"]


@pytest.mark.security
@pytest.mark.parametrize(
    "evaluation", ["../a/evaluate_base", "a/../b", "a/..", "a/.", "b/x", "a", "", "a/evaluate_base/../x"]
)
def test_ids_are_looked_up_and_never_made_into_paths(tmp_path: Path, evaluation: str) -> None:
    evaluate(tmp_path / "a", "evaluate_base", {"0": [True]})
    with pytest.raises(UnknownNameError):
        find_evaluation({"a": tmp_path / "a"}, evaluation)


def test_settings_that_differ_by_nested_keys_and_only_those(tmp_path: Path) -> None:
    one = {"name": "demo", "sft": {"steps": 700, "policy": {"width": 32}}, "tasks": [0], "rl": {"lr": 2e-5}}
    other = {
        "name": "demo",
        "sft": {"steps": 900, "policy": {"width": 32}},
        "tasks": [0, 1],
        "rl": {"lr": 2e-5, "x": None},
    }
    for name, config in (("a", one), ("b", other)):
        write_json(tmp_path / name / "run.json", {"recipe": "demo", "config": config, "packages": {"torch": name}})
    found = {d.key: (d.first, d.second) for d in config_difference(tmp_path / "a", tmp_path / "b")}
    assert found == {
        "sft.steps": ("700", "900"), "tasks": ("[0]", "[0, 1]"), "rl.x": ("not set", "null"),
        "packages.torch": ('"a"', '"b"'),
    }  # fmt: skip
    assert config_difference(tmp_path / "a", tmp_path / "a") == []


# -- world models


def model_run(make_rollout: Callable[..., Any], run: Path, version: str, starts: dict[str, list[float]]) -> Path:
    """A run with a world model that imagined from these starts, each rollout with a constant difference."""
    rows = []
    for name, levels in starts.items():
        for i, level in enumerate(levels):
            rollout = make_rollout(f"{name}-{i}", chunks=2, success_at=9 if i == 0 else None)
            state = np.full(11, float(int(name[1:])))
            rollout = replace(rollout, sim_state=state, versions={"policy": "p1", "world_model": version})
            write_rollout(run / "imagine" / "rollouts", rollout)
            rows.append(
                {
                    "rollout_id": rollout.id,
                    "divergence": [0.0] + [level] * 16,
                    "imagined_success": i == 0,
                    "real_success": False,
                }
            )
    write_json(run / "audit" / "rows.json", rows)
    write_json(run / "run.json", {"schema": 1, "recipe": "demo", "config": {}})
    write_json(
        run / "world_model" / "world_model" / "manifest.json",
        {"kind": "world_model", "version": version, "lineage": {}},
    )
    quality = {"horizons": [8, 16], "psnr": [20.0, 18.0], "psnr_moving": [15.0, 14.0], "ssim": [0.9, 0.8]}
    write_json(
        run / "world_model" / "outputs.json",
        {"outputs": {"version": version, "quality": quality, "held_out": ["1/e4", "0/e2"]}, "seconds": 1},
    )
    write_json(
        run / "world_model" / "config.json",
        {
            "stage": "train_world_model",
            "config": {"solver_steps": 1},
            "inputs": {"episodes": f"v0,{run.name[0]}1", "seed": "0"},
        },
    )
    return run


def test_world_models_are_paired_over_shared_starts(make_rollout: Callable[..., Any], tmp_path: Path) -> None:
    a = model_run(make_rollout, tmp_path / "a", "aaaa", {"s1": [10.0, 14.0], "s2": [20.0], "s3": [5.0]})
    b = model_run(make_rollout, tmp_path / "b", "bbbb", {"s1": [8.0], "s2": [16.0, 18.0], "s4": [99.0]})
    runs = {"a": a, "b": b}
    assert [(m["id"], m["audited"], m["held_out"]) for m in world_models(runs)] == [
        ("a@aaaa", 4, True),
        ("b@bbbb", 4, True),
    ]
    found = compare_models(find_model(runs, "a@aaaa"), find_model(runs, "b@bbbb"))
    imagined = found["imagined"]
    assert (imagined["shared"], imagined["starts"], imagined["obstacles"]) == (2, [3, 3], [])
    assert [c["mean"] for c in imagined["curves"]] == [[16.0, 16.0], [12.5, 12.5]], "12 and 20; 8 and 17"
    assert imagined["difference"]["mean"] == [-3.5, -3.5]
    assert imagined["difference"]["depths"] == [8, 16]
    assert imagined["difference"]["n"] == [2, 2]
    assert (imagined["difference"]["low"][0], imagined["difference"]["high"][0]) == (-4.0, -3.0)
    assert (imagined["false_success"][0]["successes"], imagined["false_success"][0]["trials"]) == (3, 3)
    assert imagined["pairs"][0] == {
        "first": "s1-0",
        "second": "s1-0",
        "errors": [pytest.approx(12 * 16 / 17), pytest.approx(8 * 16 / 17)],
    }
    assert "1 of 2 and 2 are shared" in found["held_out"]["obstacles"][0], "e4 is of another set of episodes"
    assert "only 2 starts are shared" in imagined["notes"][0]
    same = compare_models(find_model(runs, "a@aaaa"), find_model(runs, "a@aaaa"))
    assert same["held_out"]["obstacles"] == []
    assert same["held_out"]["curves"][0]["psnr_moving"] == [15.0, 14.0]
    assert same["imagined"]["difference"]["mean"] == [0.0, 0.0]


def test_world_models_without_a_common_start_show_curves_but_no_difference(
    make_rollout: Callable[..., Any], tmp_path: Path
) -> None:
    a = model_run(make_rollout, tmp_path / "a", "aaaa", {"s1": [10.0]})
    b = model_run(make_rollout, tmp_path / "b", "bbbb", {"s2": [8.0]})
    found = compare_models(find_model({"a": a}, "a@aaaa"), find_model({"b": b}, "b@bbbb"))["imagined"]
    assert "no start in common (1 starts against 1)" in found["obstacles"][0]
    assert found["difference"] is None
    assert found["curves"][0]["low"] == [None, None], "one start has no interval"
    assert [c["mean"][0] for c in found["curves"]] == [10.0, 8.0]
    for wrong in ("a", "a@", "@aaaa", "a@../x", "c@aaaa"):
        with pytest.raises(UnknownNameError):
            find_model({"a": a}, wrong)


# -- side by side


def test_two_recordings_on_one_clock(make_episode: Callable[..., Any], make_rollout: Callable[..., Any]) -> None:
    long, short = make_episode("e0", length=40, success_at=30), make_episode("e1", length=24)
    found = side_by_side(long, short, id="a|b", titles=("base", "round 1"))
    assert (found.frames, [p["title"] for p in found.meta["panes"]]) == (41, ["base", "round 1"])
    assert [len(p["offsets"]) for p in found.meta["panes"]] == [42, 26], "the shorter ends early"
    assert found.packs["real"].data != found.packs["imagined"].data
    flags = {c["key"]: c["values"] for c in found.meta["curves"]}
    assert flags["real_real_success"][29:32] == [False, True, True]
    assert flags["imagined_real_success"][24:27] == [False, None, None]
    assert found.meta["can_edit"] is False
    assert {b["text"] for b in found.meta["badges"]} == {"base: succeeded", "round 1: failed"}
    imagined = side_by_side(make_rollout("r0", success_at=9), make_rollout("r1"), id="x", titles=("a", "b"))
    assert [c["key"] for c in imagined.meta["curves"]] == ["real_p_success", "imagined_p_success"]
    with pytest.raises(PayloadError, match="8 x 8 and 16 x 16"):
        side_by_side(long, make_episode("e2", size=16), id="x", titles=("a", "b"))
