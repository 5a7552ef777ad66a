"""What the actions alone, and the motion that they should cause, say of their conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.data.doctor_motion import Fit
from wovr_core.types import FloatArray

_NAMES = ("dx", "dy", "dz", "drx", "dry", "drz")
_EARLIEST = 6
"""Steps before which a change of the gripper says nothing: some tasks close it first."""
_BIAS = 0.12
"""Action at which nothing moves, in action units; raw ones have it at 0."""
_EXPLAINED = 0.3


@dataclass(frozen=True)
class Bias:
    """Which action stands for rest, as seen in the pictures; NaN where they do not show it."""

    dy: float
    dz: float
    """With dx at 0; as the camera sees it, dx and dz are alike."""

    @classmethod
    def none(cls) -> Bias:
        return cls(float("nan"), float("nan"))


def motion_bias(best: Fit) -> Bias:
    """From the flow that the fit expects of an action of 0."""
    sideways, upward = best.gain[0, 1], best.gain[1, 2]
    dy = -best.offset[0] / sideways if best.explained[0] > _EXPLAINED and abs(sideways) > 0.1 else float("nan")
    dz = -best.offset[1] / upward if best.explained[1] > _EXPLAINED and abs(upward) > 0.1 else float("nan")
    return Bias(float(dy), float(dz))


def action_faults(clips: Sequence[FloatArray], bias: Bias) -> list[str]:
    """Evidence that actions are normalised, at most one sentence.

    Raw LIBERO actions lie in [-1, 1], rest at 0, and hardly turn: rotations are small and often exactly 0.
    """
    actions = np.concatenate([clip for clip in clips if len(clip)] or [np.zeros((0, 7), np.float32)])
    if len(actions) < 20:
        return []
    largest = np.abs(actions[:, :6]).max(axis=0)
    if (largest > 1.01).any():
        worst = int(largest.argmax())
        return [f"{_NAMES[worst]} reaches {largest[worst]:.2f}; raw actions end at 1"]
    resting = [(name, *_mode(actions[:, 3 + i])) for i, name in enumerate(_NAMES[3:])]
    for name, value, share in resting:
        if share > 0.3 and abs(value) > 1e-3:
            return [f"{name} is {value:.3f} in {share:.0%} of the rows; raw rotations rest at 0"]
    full = [name for i, name in enumerate(_NAMES[3:]) if _fills(actions[:, 3 + i])]
    if len(full) >= 2:
        return [f"{' and '.join(full)} fill the range from -1 to 1 evenly, which raw rotations do not"]
    for name, value in (("dy", bias.dy), ("dz", bias.dz)):
        if abs(value) > _BIAS:
            return [f"nothing moves where {name} is {value:+.2f}; raw actions rest at 0"]
    return []


def _mode(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    found, counts = np.unique(np.round(values, 5), return_counts=True)
    return float(found[counts.argmax()]), float(counts.max() / len(values))


def _fills(values: npt.NDArray[np.float32]) -> bool:
    """Whether about a hundredth lies at either end, as quantiles 1 and 99 leave it, and little rests at 0."""
    low, high = (values <= -0.999).mean(), (values >= 0.999).mean()
    return bool(0.004 < low < 0.03 and 0.004 < high < 0.03 and (np.abs(values) < 1e-4).mean() < 0.2)


def gripper_votes(clips: Sequence[FloatArray]) -> list[bool]:
    """One for each clip that changes its gripper on the way: whether it begins with +1.

    A robot begins with an open, empty hand; its first change is to grasp.
    """
    votes = []
    for actions in clips:
        signs = np.sign(actions[:, 6])
        changes = np.flatnonzero(signs[1:] != signs[:-1]) + 1
        if len(changes) and changes[0] >= _EARLIEST and signs[0] != 0:
            votes.append(bool(signs[0] > 0))
    return votes
