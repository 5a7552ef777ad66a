"""Where a clause wants an object: on what, in what, and on which free spot of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.envs.expert.skills import Place
from wovr_core.envs.expert.solids import Solids
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.types import StateArray

EDGE = 0.02
"""An object's origin stays this far (m) within the borders of a region."""
DEEP = 0.03
"""What goes on an object as high as this (m), such as a bowl, is let go above it: within, the opening fingers
would press against its walls."""
ROOM = 0.008
"""Between an object that is put down and its neighbours, m."""


def place_of(env: Any, solids: Solids, clause: Clause) -> Place:
    """Where the object of ("in" | "on", object, target) belongs in a LiberoEnv now.

    Raises:
        UnknownNameError: the scene has no such object or region.
    """
    predicate, name, target = clause
    poses = env.poses()
    if target in poses:
        at = np.asarray(poses[target][:2], dtype=np.float64)
        heights = solids.of(target)[..., 2]
        rim = float(heights.max()) if float(np.ptp(heights)) > DEEP else None
        return Place(at, _support(solids, name, at, float(poses[target][2])), rim)
    site = env.model.site(target)
    centre = np.asarray(env.site_position(target), dtype=np.float64)
    turn = np.asarray(env.data.site_xmat[site.id]).reshape(3, 3)
    half = np.abs(turn @ site.size)[:2]
    at = free_spot(centre[:2], half, solids, name, target)
    if predicate == "on":
        return Place(at, _support(solids, name, at, float(centre[2])))
    walls = solids.blocks[solids.body == int(site.bodyid[0])]
    return Place(at, _support(solids, name, at, float(centre[2])), rim=float(walls.high.max()))


def free_spot(centre: StateArray, half: StateArray, solids: Solids, name: str, target: str) -> StateArray:
    """(2,) the spot of a region, nearest to its centre, where the object stands clear of other things in it;
    the one with most room where there is none.

    Args:
        centre: (2,) of the region.
        half: (2,) its half extents.
        solids: what is where.
        name: of the object to be put there.
        target: of the region; what it is part of is not in the way.
    """
    own = solids.of(name).reshape(-1, 3)[:, :2]
    edge = own - solids.centres[name][:2]
    others = solids.but(name, *(owner for owner in solids.centres if target.startswith(owner)))
    others = others[(np.abs(others.centre - centre) < half + others.half.max(axis=1, keepdims=True)).all(axis=1)]
    if len(others) == 0:
        return centre
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), axis=-1).reshape(-1, 2)
    spots = centre + grid * np.maximum(half - EDGE, 0)
    room = others.distance(spots[:, None] + edge).min(axis=(1, 2))
    cost = np.linalg.norm(spots - centre, axis=1) + 20 * np.maximum(ROOM - room, 0)
    return np.asarray(spots[int(cost.argmin())])


def _support(solids: Solids, name: str, at: StateArray, otherwise: float) -> float:
    """Height of what is under (2,) `at`."""
    others = solids.but(name)
    under = others.distance(at) < 0.01
    return float(others.high[under].max()) if under.any() else otherwise
