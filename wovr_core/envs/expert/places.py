"""Where a clause wants an object: on what, in what, and on which free spot of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import see_hand
from wovr_core.envs.expert.shapes import nearest_turn
from wovr_core.envs.expert.skills import Place
from wovr_core.envs.expert.solids import Solids
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.types import StateArray

EDGE = 0.02
"""An object's origin stays this far (m) within the borders of a region."""
DEEP = 0.03
"""What goes on an object as high as this (m), such as a bowl, is let go above it: within, the opening fingers
would press against its walls."""
WALL = 0.02
"""Parts of a container that rise so far (m) above its region's centre are walls."""
LONG = 1.5
"""Times as long as it is wide: what is so has to be turned to fit a region that is so."""
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
    sides = np.asarray(env.data.site_xmat[site.id]).reshape(3, 3) * site.size  # columns: half sides
    level = sides[:2, np.argsort(-np.linalg.norm(sides[:2], axis=0))[:2]]
    at = free_spot(centre, level, solids, name, target)
    if predicate == "on":
        return Place(at, _support(solids, name, at, float(centre[2])))
    walls = solids.blocks[solids.body == int(site.bodyid[0])]
    support = max(_support(solids, name, at, float(centre[2])), _pile(solids, name, at, target))
    turn = _turn_to_fit(solids, name, level, see_hand(env).yaw)
    aside = np.asarray(poses[name][:2], dtype=np.float64) - solids.centres[name][:2]
    return Place(at + aside, support, float(walls.high.max()), turn or 0.0, snug=turn is not None)


def free_spot(centre: StateArray, sides: StateArray, solids: Solids, name: str, target: str) -> StateArray:
    """(2,) the spot of a region, nearest to its centre, where the object stands clear of other things in it;
    where there is none, rather on others than on a container's walls.

    Args:
        centre: (3,) of the region.
        sides: (2, 2) its level half sides, as columns.
        solids: what is where.
        name: of the object to be put there.
        target: of the region.
    """
    size = np.linalg.norm(sides, axis=0)
    foot, blocks = _foot(solids, name), solids.blocks
    near = np.linalg.norm(blocks.centre - centre[:2], axis=1) < size.sum() + np.linalg.norm(blocks.half, axis=1)
    owners = np.isin(solids.owner, _owners(solids, target))
    others = blocks[near & ~owners & (solids.owner != name)]
    walls = blocks[near & owners & (blocks.high > centre[2] + WALL)]
    if len(others) == 0:
        return centre[:2]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), axis=-1).reshape(-1, 2)
    spots = centre[:2] + grid @ (sides * np.maximum(1 - EDGE / np.maximum(size, EDGE), 0)).T
    cost = np.linalg.norm(spots - centre[:2], axis=1)
    for things, weight in ((others, 20), (walls, 60)):
        room = things.distance(spots[:, None] + foot).min(axis=(1, 2), initial=ROOM)
        cost += weight * (ROOM - room)
    return np.asarray(spots[int(cost.argmin())])


def _support(solids: Solids, name: str, at: StateArray, otherwise: float) -> float:
    """Height of what is under (2,) `at`."""
    tops = [solids.top_at(at + by, but=name) for by in 0.01 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])]
    return max(tops) if np.isfinite(max(tops)) else otherwise


def _pile(solids: Solids, name: str, at: StateArray, target: str) -> float:
    """Height of what lies in a container where the object, put at (2,) `at`, would come to stand on it."""
    inside = solids.but(name, *_owners(solids, target))
    hit = (inside.distance(at + _foot(solids, name)) < 0).any(axis=0)
    return float(inside.high[hit].max(initial=-np.inf))


def _foot(solids: Solids, name: str) -> StateArray:
    """(P, 2) points of an object as seen from above, relative to its centre; some within its outline."""
    edge = solids.of(name).reshape(-1, 3)[:, :2] - solids.centres[name][:2]
    return np.concatenate([edge * share for share in (0.3, 0.65, 1.0)])


def _owners(solids: Solids, target: str) -> list[str]:
    """The thing that a region such as "basket_1_contain_region" is part of."""
    return [owner for owner in solids.centres if target.startswith(owner)]


def _turn_to_fit(solids: Solids, name: str, sides: StateArray, hand_yaw: float) -> float | None:
    """What an object has to turn (rad) to lie along a region of (2, 2) level half `sides`; None where not
    both are long."""
    size = np.linalg.norm(sides, axis=0)
    foot = solids.of(name).reshape(-1, 3)[:, :2]
    spread, axes = np.linalg.eigh(np.cov(foot.T))  # ascending
    if size[0] < LONG * size[1] or spread[1] < LONG**2 * spread[0]:
        return None
    by = float(np.arctan2(sides[1, 0], sides[0, 0]) - np.arctan2(axes[1, 1], axes[0, 1]))
    return nearest_turn(hand_yaw + by, hand_yaw)
