"""The audit gate inside the RL loop: replays now and then, and the length of each task's rollouts that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from wovr_core.audit.gate import AuditedSuccess, GateConfig, decide
from wovr_core.audit.outcomes import imagined_success_step
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import NotReplayableError, WovrError
from wovr_core.execution import ReplayJob, replay, replay_job
from wovr_core.seeding import numpy_generator
from wovr_core.types import CHUNK, Keyframe, Rollout, RolloutGroup


@dataclass(frozen=True)
class GateSimulator:
    """Where imagined successes are executed for real."""

    env: LiberoConfig
    pool: JobPool


class RLGate:
    """The present length of each task's rollouts, and the audits that led to it. Checkpointed with the policy.

    Args:
        config: `every` = 0 lets everything pass.
        chunks: length at the start.
        tasks: indices in the suite.
        simulator: needed unless the gate is off.
        seed: of the samples.
    """

    def __init__(
        self, config: GateConfig, chunks: int, tasks: Collection[int], simulator: GateSimulator | None, seed: int
    ) -> None:
        if config.every and simulator is None:
            raise WovrError("gate.every is set but no simulator was given to audit in; set rl.gate.every=0")
        self.config = config
        self.chunks = dict.fromkeys(sorted(tasks), chunks)
        self.audited: dict[int, list[AuditedSuccess]] = {task: [] for task in self.chunks}
        self._simulator = simulator
        self._seed = seed

    @property
    def replays(self) -> int:
        """Real episodes spent so far."""
        return sum(len(v) for v in self.audited.values())

    def open_keyframes(self, keyframes: Sequence[Keyframe]) -> list[Keyframe]:
        """Those of tasks whose RL goes on.

        Raises:
            NotReplayableError: the gate is to audit, and a keyframe has no simulator's state to do it from.
        """
        blind = [k.start.episode_id for k in keyframes if k.sim_state is None] if self.config.every else []
        if blind:
            raise NotReplayableError(
                f"rl.gate.every is set, but {len(blind)} of {len(keyframes)} keyframes (the first of {blind[0]}) were "
                "recorded without a simulator's state and cannot be audited; set rl.gate.every=0"
            )
        return [k for k in keyframes if self.chunks.get(k.task.task, 0)]

    def admit(self, group: RolloutGroup) -> RolloutGroup:
        """The group, cut to its task's present length."""
        chunks = self.chunks[group.rollouts[0].task.task]
        return RolloutGroup(group.id, tuple(shortened(r, chunks) for r in group.rollouts))

    def audit(self, update: int, groups: Sequence[RolloutGroup]) -> dict[str, float]:
        """After every `every`-th update: execute a sample of its imagined successes and decide anew, per task.

        Returns:
            Metrics, or nothing where no audit was due.
        """
        if not self.config.every or (update + 1) % self.config.every:
            return {}
        assert self._simulator is not None
        chosen = self._sample(update, groups)
        jobs = [self._job(rollout, depth) for rollout, depth in chosen]
        episodes = self._simulator.pool.map(replay, jobs, key=lambda job: job.task)
        for (rollout, depth), episode in zip(chosen, episodes, strict=True):
            success = AuditedSuccess(depth, false=not bool(episode.success[1:].any()))
            self.audited[rollout.task.task].append(success)
        metrics = {"gate/replays": float(self.replays)}
        for task, audited in self.audited.items():
            verdict = decide(audited, self.chunks[task], self.config)
            self.chunks[task] = verdict.chunks
            metrics |= {
                f"gate/{task}/false": float(verdict.false),
                f"gate/{task}/audited": float(verdict.audited),
                f"gate/{task}/chunks": float(verdict.chunks),
            }
        return metrics

    def _sample(self, update: int, groups: Sequence[RolloutGroup]) -> list[tuple[Rollout, int]]:
        chosen = []
        for task, chunks in self.chunks.items():
            found = [
                (rollout, step)
                for group in groups
                for rollout in group.rollouts
                if rollout.task.task == task and (step := imagined_success_step(rollout)) is not None
            ]
            found = [(r, step) for r, step in found if step <= chunks * CHUNK]
            order = numpy_generator(self._seed, "gate", update, task).permutation(len(found))
            chosen += [found[i] for i in order[: self.config.sample]]
        return chosen

    def _job(self, rollout: Rollout, depth: int) -> ReplayJob:
        assert self._simulator is not None
        # As in the audit, the real success may come a chunk after the imagined one.
        actions = rollout.actions[: depth + CHUNK]
        return replay_job(self._simulator.env, rollout, actions)

    def to_dict(self) -> dict[str, dict[str, list[int]]]:
        """Per task (by its index): "chunks", and "depths" and "false" of the audited successes, oldest first."""
        return {
            str(task): {
                "chunks": [self.chunks[task]],
                "depths": [a.depth for a in audited],
                "false": [int(a.false) for a in audited],
            }
            for task, audited in self.audited.items()
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        rows = [[task, a.depth, int(a.false)] for task, audited in self.audited.items() for a in audited]
        return {
            "chunks": torch.tensor(list(self.chunks.items()), dtype=torch.int64).view(-1, 2),
            "audited": torch.tensor(rows, dtype=torch.int64).view(-1, 3),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.chunks = {int(task): int(chunks) for task, chunks in state["chunks"].tolist()}
        self.audited = {task: [] for task in self.chunks}
        for task, depth, false in state["audited"].tolist():
            self.audited[task].append(AuditedSuccess(depth, bool(false)))


def shortened(rollout: Rollout, chunks: int) -> Rollout:
    """The first `chunks` chunks of a rollout; a success that was imagined later is none."""
    steps = chunks * CHUNK
    if steps >= len(rollout.actions):
        return rollout
    if chunks < 1:
        raise WovrError("a rollout keeps at least one chunk")
    succeeded_at = int(rollout.loss_mask.sum())  # valid up to and including the first success
    return replace(
        rollout,
        frames=rollout.frames[: steps + 1],
        actions=rollout.actions[:steps],
        action_tokens=rollout.action_tokens[:chunks],
        log_probs=rollout.log_probs[:chunks],
        p_success=rollout.p_success[: steps + 1],
        loss_mask=rollout.loss_mask[:chunks],
        reward=rollout.reward if succeeded_at <= steps else 0.0,
        p_outcome=None if rollout.p_outcome is None else rollout.p_outcome[: chunks + 1],
    )
