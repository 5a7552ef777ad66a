"""What the arms of the corrections study share, keep apart and count, on made-up stages and rollouts."""

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.reproduce import corrections as study
from workbench.reproduce.corrections import CORRECTION_ARMS, CorrectionsJob
from workbench.reproduce.split import split_by_episode
from workbench.reproduce.stage_store import plain
from wovr_core import recipes
from wovr_core.audit.outcomes import audit_rollout
from wovr_core.config import to_dict
from wovr_core.data.corrections import CorrectionSet, reference_of
from wovr_core.data.episode_files import read_rollout, write_episode, write_rollout
from wovr_core.errors import WovrError
from wovr_core.files import fingerprint, write_json
from wovr_core.types import Start

EPISODES, STARTS = 8, 2


@pytest.fixture
def audited(tmp_path, make_rollout, make_episode):
    """Rollouts from two starts a few frames apart in each of eight episodes of two tasks, a false success and an
    unflagged one each, and their audit."""
    rows = []
    for e in range(EPISODES):
        context = np.random.default_rng(e).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
        for s in range(STARTS):
            for name, imagined, real in (("false", 12, None), ("right", 12, 14)):
                rollout = make_rollout(f"{name}-{e}-{s}", success_at=imagined, size=16)
                task = replace(rollout.task, task=e % 2)
                context[1:] = e + s  # the reference stays
                rollout = replace(
                    rollout, task=task, start=Start(f"e{e}", 3 * s), group_id=f"g{e}-{s}", context_frames=context.copy()
                )
                replay = replace(
                    make_episode(rollout.id, length=32, success_at=real, size=16),
                    task=task, actions=rollout.actions, clean_actions=None, source="replay",
                )  # fmt: skip
                write_rollout(tmp_path / "rollouts", rollout)
                write_episode(tmp_path / "replays", replay)
                found = audit_rollout(rollout, replay)
                rows.append({**asdict(found), "task": str(task), "divergence": found.divergence.tolist()})
    write_json(tmp_path / "rows.json", rows)
    return tmp_path


class FakeStore:
    """Makes nothing: each stage's artefacts are called like the stage, all audits find the same, and the policy that is
    evaluated first succeeds once more than any other."""

    def __init__(self, folder):
        self.folder, self.run = folder, SimpleNamespace(path=folder)
        self.seconds, self.asked = {}, []

    def stage(self, name, function, config, inputs):
        key = f"{name}-{fingerprint([to_dict(config), plain(inputs, self.folder)])}"
        self.seconds[key] = 60.0
        self.asked.append((key, config, inputs))
        made = dict.fromkeys(("policy", "world_model", "reward", "keyframes", "version", "episodes"), key)
        real = {"rollouts": str(self.folder / "rollouts"), "rows": str(self.folder / "rows.json")}
        if name == "audit":
            real["episodes"] = str(self.folder / "replays")
        numbers = dict.fromkeys(("world_model_error", "reward_auroc"), 0.5)
        counts = {k: [1, 2] for k in ("still_false", "reward_false_positives", "reward_true_positives")}
        outcomes = {str(task): [True, False, key == self.first("evaluate")] for task in (0, 1)}
        return SimpleNamespace(**made | real, held_out=[], outcomes=outcomes, **numbers, **counts)

    def of(self, name):
        return [asked for asked in self.asked if asked[0].rsplit("-", 1)[0] == name]

    def first(self, name):
        return self.of(name)[0][0] if self.of(name) else None


def run_arm(audited, name, **changes):
    recipe = recipes.get("smoke")
    recipe = replace(recipe, threads=1, tasks=(0, 1), **changes)
    store = FakeStore(audited)
    return store, list(CorrectionsJob(store, recipe, CORRECTION_ARMS[name], 0, None).rows())


def references(folder: Path, names) -> set[str]:
    return {reference_of(read_rollout(folder / f"{name}.safetensors").context_frames[0]) for name in names}


def test_what_began_in_one_episode_is_on_one_side(audited):
    folder = audited / "rollouts"
    split = split_by_episode(folder, 4)
    assert len(split.held_out) == EPISODES // 4 * STARTS * 2
    assert len(split.training) + len(split.held_out) == EPISODES * STARTS * 2
    assert not references(folder, split.training) & references(folder, split.held_out)
    assert set(split.training_episodes) == references(folder, split.training)
    assert {read_rollout(folder / f"{name}.safetensors").task.task for name in split.held_out} == {0, 1}


def test_one_episode_cannot_be_divided(tmp_path, make_rollout):
    for name in "ab":
        write_rollout(tmp_path, make_rollout(name, size=16))
    with pytest.raises(WovrError, match="held_out is 1 of 1"):
        split_by_episode(tmp_path, 4)


def test_all_arms_are_judged_on_starts_away_from_what_could_be_corrected(audited):
    stores = {arm: run_arm(audited, arm)[0] for arm in ("none", "control", "flagged")}
    starts = {store.of("audit_keyframes")[0][0] for store in stores.values()}
    assert len(starts) == 1
    excluded = set(stores["flagged"].of("audit_keyframes")[0][2].excluded)
    for store in stores.values():
        assert excluded == set(split_by_episode(audited / "rollouts", 4).training_episodes)
        finding, before, after = store.of("imagine")
        assert {before[2].keyframes, after[2].keyframes} == starts
        assert finding[2].keyframes not in starts
        assert (before[1], before[2].seed) == (after[1], after[2].seed)
    for name in ("control", "flagged"):
        made = CorrectionSet(stores[name].of("refine")[0][2].corrections)
        assert references(audited / "rollouts", [c.rollout for c in made.corrections]) <= excluded


def test_what_stood_before_is_the_same_for_all_arms_and_judged_like_them(audited):
    found = {arm: run_arm(audited, arm) for arm in ("none", "control", "flagged")}
    for kind in ("imagine", "evaluate"):
        first, last = ([store.of(kind)[-n] for store, _ in found.values()] for n in (2, 1))
        assert len({key for key, *_ in first}) == 1
        assert len({key for key, *_ in last}) == 3
    policies = {store.of("evaluate")[0][2].policy for store, _ in found.values()}
    assert policies == {store.of("imagine")[0][2].simulator.policy for store, _ in found.values()}
    for _, rows in found.values():
        for row in rows:
            assert (row["before_successes"], row["before_trials"]) == (2, 3)
            assert (row["successes"], row["trials"]) == (1, 3)
            assert row["before_imagined_successes"] == row["imagined_successes"] == EPISODES // 2 * STARTS * 2
            assert row["before_false_successes"] == row["false_successes"] == EPISODES // 2 * STARTS


def test_the_audits_have_bounds(audited):
    recipe = recipes.get("smoke")
    many = replace(recipe.keyframes, count=1000)
    finding, before, after = (config for _, config, _ in run_arm(audited, "none", keyframes=many)[0].of("imagine"))
    assert finding.starts == study.BEFORE_STARTS
    assert before.starts == after.starts == study.AFTER_STARTS
    larger = replace(recipe.imagine, starts=study.AFTER_STARTS + 1)
    assert run_arm(audited, "none", imagine=larger)[0].of("imagine")[-1][1].starts == study.AFTER_STARTS + 1


def test_each_row_says_what_its_corrections_cost(audited):
    split = split_by_episode(audited / "rollouts", 4)
    for arm in ("none", "control", "flagged"):
        store, rows = run_arm(audited, arm)
        corrected = rows[0]["arm_as_a_whole"]["corrected"]
        assert sum(row["real_episodes"] for row in rows) == corrected
        assert sum(row["audited_to_flag"] for row in rows) == (0 if arm == "none" else len(split.training))
        assert (corrected == 0) == (arm == "none")
        own = {key.rsplit("-", 1)[0] for key in store.seconds} & {"keyframes", "rl", "collect_new", "refine"}
        assert own == {"keyframes", "rl", "collect_new", "refine"}
        trained = [key for key in store.seconds if key.rsplit("-", 1)[0] in own]
        assert rows[0]["arm_as_a_whole"]["minutes"] == len(trained)
