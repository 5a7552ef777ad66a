"""The proof that flags help: one more round of refinement and RL with flagged corrections, with as many unflagged ones,
and with none.

shared stages -> keyframes -> rl -> collect_new -> keyframes -> imagine -> audit     the same for all arms of a suite
-> corrections -> refine -> rl -> imagine -> audit, measure, evaluate                by arm

One policy learns the tasks of a suite, as in the other studies. The audit stands in for a perfect annotator. A quarter
of the audited starts is held out of all corrections: on them world model and reward are measured. Rollouts after the
correction start elsewhere than those that were flagged, and refined models are used whether PACE would have promoted
them or not.
"""

from __future__ import annotations

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
from workbench.reproduce.stage_store import StageStore
from wovr_core.data.corrections import CorrectionSet
from wovr_core.data.episode_files import EpisodeSet, read_rollout_summary
from wovr_core.data.segments import split_ids
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
"""One start of so many is held out."""


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


@dataclass(frozen=True)
class Flagged:
    """The audited rollouts, divided."""

    flags: list[Flag]
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    false_held_out: tuple[str, ...]
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
        corrections = self._corrections(before, flagged)
        refined = self._refined(before, corrections)
        simulator = Simulator(before.simulator.policy, Path(refined.world_model), Path(refined.reward))
        trained = self._practised(simulator, before, corrections)
        simulator = replace(simulator, policy=Path(trained.policy))
        measured = self._measured(simulator, before, flagged)
        audited = self._audited_after(simulator, before)
        inputs = evaluate.EvaluateInputs(self.recipe.env, self.recipe.tasks, simulator.policy, self.seed, self.pool)
        evaluated = self.store.stage("evaluate", evaluate.run, self.recipe.evaluate, inputs)
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
            outcomes = evaluated.outcomes[str(task)]
            yield {
                "task": task,
                **self._false_successes(audited, task),
                **{f"before_{key}": count for key, count in self._false_successes(before.audit, task).items()},
                "successes": sum(outcomes),
                "trials": len(outcomes),
                "outcomes": "".join("01"[o] for o in outcomes),
                "arm_as_a_whole": whole,
            }

    def _false_successes(self, audited: audit.AuditOutputs, task: int) -> dict[str, int]:
        name = f"{self.recipe.env.suite}/{task}"
        imagined = [r for r in read_json(Path(audited.rows)) if r["task"] == name and r["imagined_success"]]
        false = sum(not r["real_success"] for r in imagined)
        return {"imagined_successes": len(imagined), "false_successes": false}

    def _before(self) -> Before:
        shared, recipe, seed = self.shared(), self.recipe, self.seed
        world_model = Path(self._world_model(shared, recipe).world_model)
        reward_inputs = train_reward.RewardInputs(shared.folders, shared.versions, world_model, recipe.seed)
        reward = self.store.stage("reward", train_reward.run, recipe.reward, reward_inputs)
        simulator = Simulator(shared.base, world_model, Path(reward.reward))
        first = self._rl(simulator, self._keyframes(shared.folders, shared.versions, world_model, seed), seed)
        simulator = replace(simulator, policy=Path(first.policy))
        starts = derive_seed(recipe.seed, "collect_new", seed) % 2**31
        inputs = collect.CollectInputs(recipe.env, recipe.tasks, starts, self.pool, simulator.policy)
        new = self.store.stage("collect_new", collect.run_policy_episodes, recipe.collect_evolved, inputs)
        folders, versions = (new.episodes, *shared.folders), (new.version, *shared.versions)
        keyframes = self._keyframes(folders, versions, world_model, seed + 1)
        # From all of them: flags are to be found.
        rollouts, audited = self._imagined(simulator, keyframes, seed, recipe.keyframes.count)
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
        """Starts, with all their rollouts, are held out together."""
        source = Source(Path(before.rollouts.rollouts), Path(before.audit.episodes))
        rows = list(read_json(Path(before.audit.rows)))
        flags = audit_flags(source, rows, self.recipe.keyframes.divergence_threshold)
        summaries = {n: read_rollout_summary(p) for n, p in EpisodeSet(source.rollouts).paths.items()}
        groups = sorted({s.group_id for s in summaries.values()})
        _, held_groups = split_ids(groups, max(1, len(groups) // _HELD_OUT))
        held = tuple(n for n, s in summaries.items() if s.group_id in held_groups)
        training = tuple(n for n in summaries if n not in held)
        wrong = {f.rollout for f in flags}
        found, right = len(wrong & set(training)), len(set(training) - wrong)
        count = min(FLAGGED_ROLLOUTS, found, right)
        # Whoever looks for `count` faults watches rollouts until they have come up.
        watched = [summaries[n].length + 1 for n in training][: round(len(training) * count / max(found, 1))]
        false = {f.rollout for f in flags if f.label == FALSE}
        return Flagged(
            flags, training, held, tuple(n for n in held if n in false), count, annotation_minutes(watched, count)
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
        return make(source, flagged.flags, config, self.store.run.path / "corrections", flagged.training)

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
        inputs = train_policy_rl.PolicyRLInputs(
            simulator,
            before.keyframes.keyframes,
            before.keyframes.version,
            self.seed + 1,
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
            held_out=flagged.held_out,
            flagged=flagged.false_held_out,
            seed=self.seed,
        )
        config = measure_corrections.MeasureConfig(self.recipe.imagine.solver_steps)
        return self.store.stage("measure", measure_corrections.run, config, inputs)

    def _audited_after(self, simulator: Simulator, before: Before) -> audit.AuditOutputs:
        shared = before.shared
        model = Path(self._world_model(shared, self.plain).world_model)
        seed = derive_seed(self.seed, "after_corrections") % 2**31
        inputs = select_keyframes.KeyframeInputs(shared.folders, shared.versions, model, seed)
        starts = self.store.stage("audit_keyframes", select_keyframes.run, self.plain.keyframes, inputs)
        return self._imagined(simulator, starts, seed, self.recipe.imagine.starts)[1]
