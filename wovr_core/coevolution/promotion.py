"""PACE's gate: refined models replace the old ones only where they are better on held-out new-policy episodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeldOutQuality:
    """Errors on real episodes of the new policy that neither version was trained on. Lower is better."""

    world_model_error: float
    """Mean absolute pixel error of closed-loop imagination over the moving region, in [0, 255]."""
    reward_log_loss: float
    """Binary cross-entropy of the success classifier per frame."""


@dataclass(frozen=True)
class Promotion:
    """Which of the refined models take over, and the evidence."""

    world_model: bool
    reward: bool
    before: HeldOutQuality
    after: HeldOutQuality


def decide(before: HeldOutQuality, after: HeldOutQuality) -> Promotion:
    """Each model is promoted on its own evidence; a tie keeps the old one."""
    return Promotion(
        world_model=after.world_model_error < before.world_model_error,
        reward=after.reward_log_loss < before.reward_log_loss,
        before=before,
        after=after,
    )
