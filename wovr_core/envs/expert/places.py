"""Where a clause wants an object: on what, in what, and on which free spot of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.envs.expert.skills import Place
from wovr_core.envs.expert.solids import Solids, bounds
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.types import FloatArray

EDGE = 0.02
"""An object's origin stays this far (m) within the borders of a region."""
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
        at = poses[target][:2]
        return Place(at, _support(solids, name, at, float(poses[target][2])))
    site = env.model.site(target)
    centre = env.site_position(target)
    turn = np.asarray(env.data.site_xmat[site.id]).reshape(3, 3)
    half = np.abs(turn @ site.size)[:2]
    at = free_spot(centre[:2], half, solids, name, target)
    if predicate == "on":
        return Place(at, _support(solids, name, at, float(centre[2])))
    walls = bounds(solids.of_body(int(site.bodyid[0])))
    return Place(at, _support(solids, name, at, float(centre[2])), rim=float(walls[:, 5].max()))


def free_spot(centre: FloatArray, half: FloatArray, solids: Solids, name: str, target: str) -> FloatArray:
    """(2,) the spot of a region, nearest to its centre, where the object stands clear of other things in it;
    the one with most room where there is none.

    Args:
        centre: (2,) of the region.
        half: (2,) its half extents.
        solids: what is where.
        name: of the object to be put there.
        target: of the region; what it is part of is not in the way.
    """
    own = bounds(solids.of(name))
    size = (own[:, 3:5].max(axis=0) - own[:, :2].min(axis=0)) / 2
    others = solids.but(name, *(owner for owner in solids.centres if target.startswith(owner)))
    inside = (others[:, 3:5] > centre - half).all(axis=1) & (others[:, :2] < centre + half).all(axis=1)
    if not inside.any():
        return centre
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), axis=-1).reshape(-1, 2)
    spots = centre + grid * np.maximum(half - EDGE, 0)
    middle, reach = (others[inside, :2] + others[inside, 3:5]) / 2, (others[inside, 3:5] - others[inside, :2]) / 2
    apart = np.abs(spots[:, None] - middle) - reach - size  # (81, m, 2)
    room = (np.linalg.norm(np.maximum(apart, 0), axis=2) + np.minimum(apart.max(axis=2), 0)).min(axis=1)
    cost = np.linalg.norm(spots - centre, axis=1) + 20 * np.maximum(ROOM - room, 0)
    return np.asarray(spots[int(cost.argmin())], dtype=np.float32)


def _support(solids: Solids, name: str, at: FloatArray, otherwise: float) -> float:
    """Height of what is under (2,) `at`."""
    others = solids.but(name)
    under = (others[:, :2] - 0.01 < at).all(axis=1) & (others[:, 3:5] + 0.01 > at).all(axis=1)
    return float(others[under, 5].max()) if under.any() else otherwise
