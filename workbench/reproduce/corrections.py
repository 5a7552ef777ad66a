"""The proof that flags help: one more round of refinement and RL with flagged corrections, with as many unflagged ones,
and with none.

shared stages -> keyframes -> rl -> collect_new -> keyframes -> imagine -> audit     the same for all arms of a suite
-> audit_keyframes -> imagine, audit, evaluate                                       likewise: what stood before
-> corrections -> refine -> rl -> imagine, audit, evaluate, measure                  by arm

One policy learns the tasks of a suite, as in the other studies. The audit stands in for a perfect annotator. A quarter
of the episodes in which audited rollouts began is held out of all corrections: on their rollouts world model and reward
are measured. What stood before and what each arm leads to are audited on identical starts, none of them in an episode
in which a rollout began that could be corrected. Refined models are used whether PACE would have promoted them or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from workbench.corrections import FALSE, CorrectionsConfig, Flag, Source, make
from workbench.flags import annotation_minutes, audit_flags
from workbench.reproduce.arms import Arm
from workbench.reproduce.job import ArmJob, Shared
from workbench.reproduce.results import Row
from workbench.reproduce.split import Split, split_by_episode
from workbench.reproduce.stage_store import StageStore
from wovr_core.data.corrections import CorrectionSet
from wovr_core.data.episode_files import EpisodeSet, read_rollout_summary
from wovr_core.envs.pool import EnvPool
from wovr_core.files import read_json
from wovr_core.recipes import Recipe
from wovr_core.seeding import derive_seed
from wovr_core.stages import (
    audit,
    collect,
    evaluate,
    imagine,
    measure_corrections,
    refine_world_model,
    select_keyframes,
    train_policy_rl,
    train_reward,
)
from wovr_core.stages.imagine import Simulator

FLAGGED_ROLLOUTS = 100
"""At most; as many as there are flagged and unflagged ones of."""
_HELD_OUT = 4
"""One episode of so many is held out."""
BEFORE_STARTS = 120
"""Starts at most from which flags are found: replaying one rollout of their groups takes about a second."""
AFTER_STARTS = 100
"""Starts at least (as far as the recipe selects so many) on which false successes are counted: at the cpu recipe's four
rollouts a start half of the 400 may fail in imagination and there still are 200 imagined successes to an arm."""


@dataclass(frozen=True)
class CorrectionArm:
    """What the models learn beside the episodes that all arms have."""

    name: str
    kind: Literal["none", "control", "flagged"]
    noise: float = 0.0
    """Share of wrong flags."""


CORRECTION_ARMS = {
    arm.name: arm
    for arm in (
        CorrectionArm("none", "none"),
        CorrectionArm("control", "control"),
        CorrectionArm("flagged", "flagged"),
        CorrectionArm("flagged_10", "flagged", 0.1),
        CorrectionArm("flagged_30", "flagged", 0.3),
    )
}
NOISY = tuple(name for name, arm in CORRECTION_ARMS.items() if arm.noise)


@dataclass(frozen=True)
class Before:
    """What all arms of one suite and seed start from."""

    shared: Shared
    simulator: Simulator
    calibration: tuple[str, ...]
    new: collect.CollectOutputs
    keyframes: select_keyframes.KeyframeOutputs
    rollouts: imagine.ImagineOutputs
    audit: audit.AuditOutputs
    """Of these rollouts: where flags are found."""


@dataclass(frozen=True)
class Flagged:
    """What the audit found in the rollouts on both sides."""

    flags: list[Flag]
    split: Split
    false_held_out: tuple[str, ...]
    per_task: Counter[str]
    """Audited rollouts of the training side by task."""
    count: int
    """Rollouts to correct."""
    minutes: float
    """About what finding them costs a person."""


class CorrectionsJob(ArmJob):
    """One arm on one suite's tasks with one seed."""

    def __init__(self, store: StageStore, recipe: Recipe, arm: CorrectionArm, seed: int, pool: EnvPool) -> None:
        super().__init__(store, recipe, Arm("wovr"), seed, pool)
        self.correction = arm

    def rows(self) -> Iterator[Row]:
        """One per task, but for what tells which arm it is. What the tasks share, as one model learns them all, is
        `arm_as_a_whole` in each of them."""
        torch.set_num_threads(self.recipe.threads)
        before = self._before()
        flagged = self._flagged(before)
        starts = self._starts_to_judge(before, flagged.split)
        audited_before, evaluated_before = self._judged(before.simulator, starts)
        corrections = self._corrections(before, flagged)
        refined = self._refined(before, corrections)
        simulator = Simulator(before.simulator.policy, Path(refined.world_model), Path(refined.reward))
        trained = self._practised(simulator, before, corrections)
        simulator = replace(simulator, policy=Path(trained.policy))
        measured = self._measured(simulator, before, flagged)
        audited, evaluated = self._judged(simulator, starts)
        learned = _replays_by_task(corrections)
        flags = corrections is not None and self.correction.kind == "flagged"
        whole: Row = {
            "corrected": 0 if corrections is None else len(corrections.corrections),
            "corrections": "" if corrections is None else corrections.version,
            "noise": self.correction.noise,
            "world_model_error": measured.world_model_error,
            "still_false": measured.still_false,
            "reward_auroc": measured.reward_auroc,
            "reward_false_positives": measured.reward_false_positives,
            "reward_true_positives": measured.reward_true_positives,
            "annotator_minutes": flagged.minutes if flags else 0.0,
            "minutes": round(self.minutes(), 2),
        }
        for task in self.recipe.tasks:
            name = f"{self.recipe.env.suite}/{task}"
            stood = self._counts(audited_before, evaluated_before, task)
            yield {
                "task": task,
                **self._counts(audited, evaluated, task),
                **{f"before_{key}": count for key, count in stood.items()},
                "outcomes": "".join("01"[o] for o in evaluated.outcomes[str(task)]),
                # Beside the episodes that all arms have. An unflagged rollout is known for one by its audit, too.
                "real_episodes": learned[name],
                "audited_to_flag": 0 if corrections is None else flagged.per_task[name],
                "arm_as_a_whole": whole,
            }

    def _counts(self, audited: audit.AuditOutputs, evaluated: evaluate.EvaluateOutputs, task: int) -> dict[str, int]:
        outcomes = evaluated.outcomes[str(task)]
        return self._false_successes(audited, task) | {"successes": sum(outcomes), "trials": len(outcomes)}

    def _false_successes(self, audited: audit.AuditOutputs, task: int) -> dict[str, int]:
        name = f"{self.recipe.env.suite}/{task}"
        imagined = [r for r in read_json(Path(audited.rows)) if r["task"] == name and r["imagined_success"]]
        false = sum(not r["real_success"] for r in imagined)
        return {"imagined_successes": len(imagined), "false_successes": false}

    def _before(self) -> Before:
        shared, recipe, seed = self.shared(), self.recipe, self.seed
        world_model = Path(self.world_model(shared, recipe.world_model, recipe.seed).world_model)
        reward_inputs = train_reward.RewardInputs(shared.folders, shared.versions, world_model, recipe.seed)
        reward = self.store.stage("reward", train_reward.run, recipe.reward, reward_inputs)
        simulator = Simulator(shared.base, world_model, Path(reward.reward))
        keyframes = self._keyframes(shared.folders, shared.versions, world_model, seed)
        first = self._rl(simulator, keyframes, shared.folders, shared.versions, seed)
        simulator = replace(simulator, policy=Path(first.policy))
        starts = derive_seed(recipe.seed, "collect_new", seed) % 2**31
        inputs = collect.CollectInputs(recipe.env, recipe.tasks, starts, self.pool, simulator.policy)
        new = self.store.stage("collect_new", collect.run_policy_episodes, recipe.collect_evolved, inputs)
        folders, versions = (new.episodes, *shared.folders), (new.version, *shared.versions)
        keyframes = self._keyframes(folders, versions, world_model, seed + 1)
        rollouts, audited = self._imagined(simulator, keyframes, seed, min(recipe.keyframes.count, BEFORE_STARTS))
        return Before(shared, simulator, tuple(reward.held_out), new, keyframes, rollouts, audited)

    def _imagined(
        self, simulator: Simulator, starts: select_keyframes.KeyframeOutputs, seed: int, count: int
    ) -> tuple[imagine.ImagineOutputs, audit.AuditOutputs]:
        inputs = imagine.ImagineInputs(simulator, starts.keyframes, starts.version, seed)
        config = replace(self.recipe.imagine, starts=count)
        rollouts = self.store.stage("imagine", imagine.run, config, inputs)
        audit_inputs = audit.AuditInputs(self.recipe.env, rollouts.rollouts, rollouts.version, self.pool)
        return rollouts, self.store.stage("audit", audit.run, self.recipe.audit, audit_inputs)

    def _flagged(self, before: Before) -> Flagged:
        source = Source(Path(before.rollouts.rollouts), Path(before.audit.episodes))
        rows = list(read_json(Path(before.audit.rows)))
        flags = audit_flags(source, rows, self.recipe.keyframes.divergence_threshold)
        split = split_by_episode(source.rollouts, _HELD_OUT)
        summaries = {n: read_rollout_summary(p) for n, p in EpisodeSet(source.rollouts).paths.items()}
        wrong = {f.rollout for f in flags}
        found, right = len(wrong & set(split.training)), len(set(split.training) - wrong)
        count = min(FLAGGED_ROLLOUTS, found, right)
        # Whoever looks for `count` faults watches rollouts until they have come up.
        lengths = [summaries[n].length + 1 for n in split.training]
        watched = lengths[: round(len(lengths) * count / max(found, 1))]
        false = {f.rollout for f in flags if f.label == FALSE}
        return Flagged(
            flags,
            split,
            tuple(n for n in split.held_out if n in false),
            Counter(str(summaries[n].task) for n in split.training),
            count,
            annotation_minutes(watched, count),
        )

    def _corrections(self, before: Before, flagged: Flagged) -> CorrectionSet | None:
        if self.correction.kind == "none":
            return None
        source = Source(Path(before.rollouts.rollouts), Path(before.audit.episodes))
        config = CorrectionsConfig(
            kind=self.correction.kind,
            count=max(flagged.count, 1),
            noise=self.correction.noise,
            seed=self.seed,
        )
        return make(source, flagged.flags, config, self.store.run.path / "corrections", flagged.split.training)

    def _refined(self, before: Before, corrections: CorrectionSet | None) -> refine_world_model.RefineOutputs:
        inputs = refine_world_model.RefineInputs(
            old_episodes=before.shared.folders,
            new_episodes=before.new.episodes,
            versions=(*before.shared.versions, before.new.version),
            world_model=before.simulator.world_model,
            reward=before.simulator.reward,
            calibration_episodes=before.calibration,
            reward_training=self.recipe.reward,
            seed=self.seed,
            corrections=corrections.folder if corrections else None,
        )
        # The gate of PACE would decide on a handful of episodes whether the corrections are heard at all.
        config = replace(self.recipe.refine, promote="always")
        return self.store.stage("refine", refine_world_model.run, config, inputs)

    def _practised(
        self, simulator: Simulator, before: Before, corrections: CorrectionSet | None
    ) -> train_policy_rl.PolicyRLOutputs:
        folders = (before.new.episodes, *before.shared.folders)
        versions = (before.new.version, *before.shared.versions)
        inputs = train_policy_rl.PolicyRLInputs(
            simulator,
            before.keyframes.keyframes,
            before.keyframes.version,
            self.seed + 1,
            real=train_policy_rl.real_folders(self.recipe.rl, folders, versions),
            corrections=corrections.folder if corrections else None,
        )
        recipe = replace(self.recipe.rl, gate=replace(self.recipe.rl.gate, every=0))
        return self.store.stage("rl", train_policy_rl.run, recipe, inputs)

    def _measured(self, simulator: Simulator, before: Before, flagged: Flagged) -> measure_corrections.MeasureOutputs:
        inputs = measure_corrections.MeasureInputs(
            simulator=simulator,
            rollouts=before.rollouts.rollouts,
            replays=before.audit.episodes,
            version=before.rollouts.version,
            held_out=flagged.split.held_out,
            flagged=flagged.false_held_out,
            seed=self.seed,
        )
        config = measure_corrections.MeasureConfig(self.recipe.imagine.solver_steps)
        return self.store.stage("measure", measure_corrections.run, config, inputs)

    def _starts_to_judge(self, before: Before, split: Split) -> select_keyframes.KeyframeOutputs:
        """The same for all arms: in held-out episodes, and in those that no rollout before began in."""
        inputs = select_keyframes.KeyframeInputs(
            (before.new.episodes, *before.shared.folders),
            (before.new.version, *before.shared.versions),
            before.simulator.world_model,
            self._seed_to_judge(),
            excluded=split.training_episodes,
        )
        return self.store.stage("audit_keyframes", select_keyframes.run, self.recipe.keyframes, inputs)

    def _judged(
        self, simulator: Simulator, starts: select_keyframes.KeyframeOutputs
    ) -> tuple[audit.AuditOutputs, evaluate.EvaluateOutputs]:
        """The audit of what is imagined from these starts, and real success."""
        count = max(self.recipe.imagine.starts, AFTER_STARTS)
        _, audited = self._imagined(simulator, starts, self._seed_to_judge(), count)
        inputs = evaluate.EvaluateInputs(self.recipe.env, self.recipe.tasks, simulator.policy, self.seed, self.pool)
        return audited, self.store.stage("evaluate", evaluate.run, self.recipe.evaluate, inputs)

    def _seed_to_judge(self) -> int:
        return derive_seed(self.seed, "after_corrections") % 2**31


def _replays_by_task(corrections: CorrectionSet | None) -> Counter[str]:
    """Real replays that the models learn from."""
    if corrections is None:
        return Counter()
    replays = [corrections.replay(c.rollout) for c in corrections.corrections]
    return Counter(str(replay.task) for replay in replays if replay is not None)
