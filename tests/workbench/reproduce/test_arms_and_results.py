"""Arms differ in their switches only; rows are written once, whole, and are found again."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.reproduce.arms import ABLATIONS, ARMS, MAIN, WORLD_MODELS, find_arm
from workbench.reproduce.job import real_budget
from workbench.reproduce.results import Results, read_rows
from wovr_core import recipes
from wovr_core.audit.gate import GateConfig
from wovr_core.config import from_dict, to_dict
from wovr_core.errors import CorruptFileError, UnknownNameError
from wovr_core.run_folder import describe_machine
from wovr_core.world_model.model import WorldModelConfig


def differences(old, new, key=""):
    if isinstance(old, dict):
        return {d for name in old for d in differences(old[name], new[name], f"{key}.{name}".lstrip("."))}
    return set() if old == new else {key}


EXPECTED = {
    "base": set(),
    "wovr": set(),
    "grpo_online": set(),
    "without_kir": {"keyframes.initial_share", "rl.chunks", "rl.groups"},
    "without_mask": {"rl.post_success_mask"},
    "without_pace": set(),  # a switch of the job's order, not of the recipe
    "without_anchor": {"world_model.model.anchor"},
    "without_outcome": {"rl.outcome_worth", "rl.chunks", "rl.groups"},
    "without_hold": {"rl.reference_weight"},
    "without_correlation": {"rl.correlation"},
    "without_first_contact": {"keyframes.first_contact"},
    "without_real": {"rl.real_weight"},
    "wmpo": {
        "keyframes.initial_share", "rl.chunks", "rl.groups", "rl.post_success_mask",
        "world_model.model.anchor", "world_model.model.context_noise",
    },
}  # fmt: skip


def test_arms_change_what_their_switches_name_and_nothing_else():
    recipe = recipes.get("cpu")
    plain = to_dict(recipe, whole=True)
    assert ARMS.keys() == EXPECTED.keys() >= {*MAIN, *ABLATIONS}
    for name, expected in EXPECTED.items():
        assert differences(plain, to_dict(find_arm(name).apply(recipe), whole=True)) == expected, name
    with pytest.raises(UnknownNameError, match="did you mean 'wovr'"):
        find_arm("wover")


def test_longer_rollouts_are_fewer_so_that_an_update_imagines_as_many_frames():
    recipe = recipes.get("cpu")
    for name in ("without_kir", "without_outcome"):
        other = find_arm(name).apply(recipe)
        frames, same = recipe.rl.groups * recipe.rl.chunks, other.rl.groups * other.rl.chunks
        assert abs(frames - same) <= other.rl.chunks / 2
        assert other.rl.chunks > recipe.rl.chunks
    other = find_arm("without_kir").apply(recipe)
    assert other.rl.chunks * 8 >= recipe.evaluate.max_steps
    assert other.keyframes.initial_share == 1


def test_world_model_ablations_are_keys_of_the_model():
    full = to_dict(WorldModelConfig())
    for name, keys in WORLD_MODELS.items():
        changed = to_dict(from_dict(WorldModelConfig, full | keys, name))
        assert differences(full, changed) == keys.keys()


def test_the_real_budget_counts_everything():
    recipe = recipes.get("smoke")
    assert real_budget(recipe) == 4 + 2 + 2 + 3
    gated = replace(recipe, tasks=(0, 1), rl=replace(recipe.rl, gate=GateConfig(every=1, sample=5)))
    assert real_budget(gated) == 2 * 11 + 2 * (2 * 5 * 2)


def test_rows_replace_their_like_and_carry_the_commit(tmp_path):
    results = Results(tmp_path / "main.json", "wovr reproduce main")
    keys = {"suite": "libero_object", "arm": "wovr", "seed": 0}
    results.put([keys | {"task": 10, "successes": 1, "config": "a"}, keys | {"task": 2, "successes": 3, "config": "a"}])
    results.put([keys | {"task": 10, "successes": 7, "config": "b"}])
    record = json.loads((tmp_path / "main.json").read_text())
    assert record["command"] == "wovr reproduce main"
    assert [(r["task"], r["successes"]) for r in record["rows"]] == [(2, 3), (10, 7)]
    assert all(r["commit"] == record["commit"] != "" for r in record["rows"])
    assert {r["processor"] for r in record["rows"]} == {describe_machine()["processor"]}
    assert results.finished(keys | {"task": 10}, "b")
    assert not results.finished(keys | {"task": 10}, "a")  # made with another configuration
    assert not results.finished(keys | {"task": 10, "seed": 1}, "b")
    assert not list(tmp_path.glob("*.tmp"))


def test_a_torn_results_file_is_named(tmp_path):
    path = tmp_path / "main.json"
    assert Results(path, "x").rows() == []
    path.write_text('{"rows": 3}')
    with pytest.raises(CorruptFileError, match=r"main\.json is no results file"):
        read_rows(path)
    path.write_text('{"rows"')
    with pytest.raises(CorruptFileError, match="not valid JSON"):
        Results(path, "x").rows()


def test_switches_are_told_in_words():
    assert find_arm("wovr").switches == ""
    assert find_arm("without_kir").switches == "no KIR"
    assert find_arm("wmpo").switches.count(",") == 4


def test_runs_of_other_seeds_may_share_the_file(tmp_path: Path) -> None:
    def run(seed: int) -> None:
        results = Results(tmp_path / "new" / "main.json", "wovr reproduce main")
        for task in range(20):
            results.put([{"suite": "s", "task": task, "arm": "wovr", "seed": seed}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    kept = Results(tmp_path / "new" / "main.json", "").rows()
    assert sorted((row["seed"], row["task"]) for row in kept) == [(s, t) for s in range(4) for t in range(20)]
