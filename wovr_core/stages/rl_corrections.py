"""What flagged spans mean for masked GRPO.

Practice imagines fresh rollouts at every update, so a flag on an old rollout reaches it in two ways:

1. **Replay.** The flagged rollouts' groups join the first update, with everything masked from the first hallucinated
   frame on and no reward for what was imagined there. What led to a hallucinated success thus falls below the group's
   mean instead of above. Only in the first update, and only if this policy acted in them: there the ratio of old and
   new policy is 1 and the gradient unbiased; later, or with another policy, it would not be.
2. **Horizon.** Fresh rollouts from a start whose successes were mostly hallucinated are masked from the flagged depth
   on, and a success imagined later earns nothing. It holds for starts up to a chunk away in the same episode, for the
   same instant of it: what misleads imagination is a contact that lies there, not the number of frames before it.

Flags close no start for good: what is imagined before the flagged instant still counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from wovr_core.audit.outcomes import imagined_success_step
from wovr_core.data.corrections import CorrectionSet, reference_of
from wovr_core.rl.loss_mask import mask_from_frame
from wovr_core.types import CHUNK, Rollout, RolloutGroup


class RLCorrections:
    """Corrections as the RL loop uses them; without a set everything passes unchanged."""

    def __init__(self, corrections: CorrectionSet | None, policy_version: str) -> None:
        """policy_version: of the policy that practice starts with."""
        self._set = corrections
        self._policy = policy_version
        self._horizons: dict[str, list[tuple[int, int]]] = {}
        self.bounded = 0
        """Fresh rollouts of the latest update that were cut."""
        for horizon in corrections.horizons if corrections else ():
            self._horizons.setdefault(horizon.reference, []).append((horizon.step, horizon.frame))

    def replayed(self, update: int) -> Iterator[RolloutGroup]:
        """The groups that join this update: masked, and paid for nothing that was hallucinated."""
        if self._set is None or update != 0:
            return
        masked_from = {c.rollout: c.masked_from for c in self._set.corrections if c.masked_from is not None}
        corrected = {c.rollout for c in self._set.corrections}
        for group in self._set.groups():
            own = all(r.versions.get("policy") == self._policy for r in group.rollouts)
            if own and len(group.rollouts) > 1 and corrected & {r.id for r in group.rollouts}:
                rollouts = tuple(
                    believed_until(r, masked_from[r.id]) if r.id in masked_from else r for r in group.rollouts
                )
                yield RolloutGroup(group.id, rollouts)

    def bound(self, groups: Sequence[RolloutGroup]) -> list[RolloutGroup]:
        """An update's fresh groups, each cut where its start's horizon lies."""
        self.bounded = 0
        return [self._bounded(group) for group in groups]

    def _bounded(self, group: RolloutGroup) -> RolloutGroup:
        frame = self._horizon(group.rollouts[0])
        if frame is None or frame >= len(group.rollouts[0].frames):
            return group
        self.bounded += len(group.rollouts)
        return RolloutGroup(group.id, tuple(believed_until(r, frame) for r in group.rollouts))

    def _horizon(self, rollout: Rollout) -> int | None:
        if not self._horizons:
            return None
        near = [
            max(step + frame - rollout.start.step, 1)
            for step, frame in self._horizons.get(reference_of(rollout.context_frames[0]), ())
            if abs(step - rollout.start.step) <= CHUNK
        ]
        return min(near, default=None)


def believed_until(rollout: Rollout, frame: int) -> Rollout:
    """The rollout without the steps that lead to `frame` and on; a success imagined there is none."""
    mask = mask_from_frame(torch.from_numpy(rollout.loss_mask)[None], 0, min(frame, len(rollout.actions)))[0].numpy()
    success = imagined_success_step(rollout)
    believed = success is not None and success < frame
    outcomes = None if rollout.p_outcome is None else rollout.p_outcome[: (max(frame, 1) - 1) // CHUNK + 1]
    return replace(rollout, loss_mask=mask, reward=rollout.reward if believed else 0.0, p_outcome=outcomes)
