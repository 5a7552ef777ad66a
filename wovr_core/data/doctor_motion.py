"""What a clip's pictures show of its actions: optical flow of what moves, and how actions explain it.

In LIBERO the arm answers an action within two pictures: the flow from picture t to t+1 follows action t and
action t-1 alike, and their mean best. Which two explain it tells whether the rows are shifted; the signs of the fit
tell how the pictures stand; its size tells how much time passes between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.errors import MissingDependencyError
from wovr_core.types import FloatArray, Frames

SIDE = 96
"""Pixels to which pictures are scaled, so that flows of different sources can be compared."""
SHIFTS = (-2, -1, 0, 1, 2)
"""By how many rows actions may be away from where we hold them: a flow is explained by the mean of the actions
`shift` and `shift + 1` pictures before."""
_CHANGED = 6
"""Grey levels from which on a pixel counts as moving."""
_FEWEST_PIXELS = 12
_EDGE = 4
_WINDOW = 56
"""Pictures of a clip that are looked at: its first ones, in which the arm reaches out."""

Flow = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
"""(T, 2) mean displacement of moving pixels from picture t to t+1, right and down in pixels of SIDE; (T,) whether
enough of them moved."""


@dataclass(frozen=True)
class Motion:
    """Of one clip of T actions."""

    flow: npt.NDArray[np.float64]
    """(N, 2), of the first N pairs of pictures; see Flow."""
    seen: npt.NDArray[np.bool_]
    """(N,)"""
    actions: npt.NDArray[np.float64]
    """(T, 3) the translations, T >= N."""


@dataclass(frozen=True)
class Fit:
    """Flow as a linear function of the mean of two actions in a row, over all clips."""

    shift: int
    """0: those that begin at the pair's first picture and the one before, as in our convention."""
    gain: npt.NDArray[np.float64]
    """(2, 3) pixels for an action of 1."""
    offset: npt.NDArray[np.float64]
    """(2,) pixels where the action is 0."""
    explained: npt.NDArray[np.float64]
    """(2,) share of the flow's variance, right and down."""


def watch(frames: Frames) -> Flow:
    """Measure the motion in (T+1, H, W, 3).

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("the doctor needs OpenCV: pip install opencv-python-headless") from error
    count = min(len(frames) - 1, _WINDOW)
    grey = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for frame in frames[: count + 1]
    ]
    flow, seen = np.zeros((count, 2)), np.zeros(count, dtype=bool)
    for t in range(count):
        moving = cv2.absdiff(grey[t], grey[t + 1]) > _CHANGED
        if moving.sum() >= _FEWEST_PIXELS:
            start = np.zeros((SIDE, SIDE, 2), np.float32)
            field = cv2.calcOpticalFlowFarneback(grey[t], grey[t + 1], start, 0.5, 3, 11, 3, 5, 1.1, 0)
            flow[t], seen[t] = field[moving].mean(axis=0), True
    return flow, seen


def motion_of(flow: Flow, actions: FloatArray) -> Motion:
    """The flow beside the actions (T, 7) that should explain it."""
    count = min(len(flow[0]), len(actions))
    return Motion(flow[0][:count], flow[1][:count], np.asarray(actions[:, :3], dtype=np.float64))


def fit(motions: Sequence[Motion], shift: int) -> Fit | None:
    """Least squares over all clips; None where too little moves."""
    rows, targets = [], []
    for motion in motions:
        times = np.arange(_EDGE, min(len(motion.flow), len(motion.actions) - _EDGE))
        times = times[motion.seen[times]]
        rows.append((motion.actions[times - shift] + motion.actions[times - shift - 1]) / 2)
        targets.append(motion.flow[times])
    x, y = np.concatenate(rows), np.concatenate(targets)
    if len(x) < 50 or not (x.std(axis=0) > 1e-3).any():
        return None
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    solution = np.linalg.lstsq(np.concatenate([x, np.ones((len(x), 1))], axis=1), y, rcond=None)[0]
    residual = ((y - x @ solution[:3] - solution[3]) ** 2).sum(axis=0)
    return Fit(shift, solution[:3].T, solution[3], 1 - residual / np.maximum(spread, 1e-9))
