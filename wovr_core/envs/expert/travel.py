"""How high to go: what has to be cleared on the straight way from here to there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wovr_core.envs.expert.solids import Blocks
from wovr_core.types import StateArray

STEP = 0.01
"""Distance (m) between the points of the way that are looked at."""
AHEAD = 0.06
"""What is nearer than this (m) along the way has to be cleared before going on sideways."""
NOTHING = -1e3


def heights_to_clear(
    start: StateArray,
    goal: StateArray,
    spots: StateArray,
    obstacles: Blocks,
    ignore_at_goal: bool = True,
    margin: float = 0.008,
) -> tuple[float, float]:
    """The highest top (m) over which something has to pass, on the whole way and in its next 6 cm.

    Args:
        start, goal: (2,) sideways positions, m.
        spots: (P, 2) points of what moves, relative to its position.
        obstacles: N blocks.
        ignore_at_goal: leave out what is under `spots` at the goal itself.
        margin: added around each block, m.

    Returns:
        Both heights; -1000 where there is nothing to clear.
    """
    if len(obstacles) == 0:
        return NOTHING, NOTHING
    length = float(np.linalg.norm(goal - start))
    count = max(int(length / STEP), 1)
    shares = np.linspace(0, 1, count + 1)
    way = start + shares[:, None] * (goal - start)
    points = way[:, None] + spots[None]  # (S, P, 2)
    hit: npt.NDArray[np.bool_] = np.any(obstacles.distance(points) < margin, axis=1)  # (S, N)
    if ignore_at_goal:
        hit = hit & ~hit[-1]
    tops = np.where(hit, obstacles.high, NOTHING).max(axis=1)
    left = (1 - shares) * length
    tops[left < 0.015] = NOTHING
    return float(tops.max()), float(tops[shares * length <= AHEAD].max())
