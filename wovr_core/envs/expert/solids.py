"""What is where: the collision boxes of a scene's objects and fixtures, measured from the MuJoCo model.

Nothing about an object is typed in by hand: extents, widths and rims all come from these boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from wovr_core.errors import UnknownNameError
from wovr_core.types import IntArray, StateArray

_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_indices: WeakKeyDictionary[Any, _Index] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Blocks:
    """N boxes as seen from above: upright, each turned as its longest level side; m, world frame."""

    centre: StateArray
    """(N, 2)"""
    axis: StateArray
    """(N, 2) unit vector along the first side."""
    half: StateArray
    """(N, 2) half extents along `axis` and across it."""
    low: StateArray
    """(N,) heights of the undersides."""
    high: StateArray
    """(N,) heights of the tops."""

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, which: Any) -> Blocks:
        """Those of a mask (N,) or of indices."""
        return Blocks(self.centre[which], self.axis[which], self.half[which], self.low[which], self.high[which])

    def __add__(self, other: Blocks) -> Blocks:
        return Blocks(
            np.concatenate([self.centre, other.centre]),
            np.concatenate([self.axis, other.axis]),
            np.concatenate([self.half, other.half]),
            np.concatenate([self.low, other.low]),
            np.concatenate([self.high, other.high]),
        )

    def distance(self, points: StateArray) -> StateArray:
        """(..., 2) -> (..., N) how far each point lies outside each block, level; negative inside."""
        x, y = points[..., 0, None] - self.centre[:, 0], points[..., 1, None] - self.centre[:, 1]
        along = np.abs(x * self.axis[:, 0] + y * self.axis[:, 1]) - self.half[:, 0]
        across = np.abs(y * self.axis[:, 0] - x * self.axis[:, 1]) - self.half[:, 1]
        return np.asarray(
            np.hypot(np.maximum(along, 0), np.maximum(across, 0)) + np.minimum(np.maximum(along, across), 0)
        )

    def near(self, point: StateArray, reach: float) -> Blocks:
        """Those of which some part may lie within `reach` of (2,) `point`."""
        return self[np.linalg.norm(self.centre - point, axis=1) < reach + np.linalg.norm(self.half, axis=1)]


@dataclass(frozen=True, eq=False)
class Solids:
    """The collision boxes of everything with a name in LIBERO, at one instant; m, world frame."""

    corners: StateArray
    """(N, 8, 3) of every box."""
    sides: StateArray
    """(N, 3, 3) its half sides, as columns."""
    blocks: Blocks
    """The N boxes, seen from above."""
    owner: npt.NDArray[np.str_]
    """(N,) name of the object or fixture that a box belongs to."""
    body: IntArray
    """(N,) MuJoCo's number of the body that it belongs to: a cabinet's drawers are bodies of their own."""
    centres: dict[str, StateArray]
    """(3,) centre of mass of each object and fixture."""
    turns: dict[str, StateArray]
    """(3, 3) rotation of each."""

    def of(self, name: str) -> StateArray:
        """(n, 8, 3) corners of one object's boxes.

        Raises:
            UnknownNameError: there is nothing of this name.
        """
        if name not in self.centres:
            raise UnknownNameError("object", name, self.centres)
        return self.corners[self.owner == name]

    def top_at(self, point: StateArray, but: str) -> float:
        """Height of the highest surface on the upright line through (2,) `point`, one object left out; -inf if
        there is none."""
        others = self.owner != but
        middle, sides = self.corners[others].mean(axis=1), self.sides[others]
        size = np.maximum(np.linalg.norm(sides, axis=1), 1e-9)  # (n, 3)
        frame = sides / size[:, None]
        start = np.einsum("nij,ni->nj", frame, np.array([*point, 0.0]) - middle)
        climb = np.where(np.abs(frame[:, 2]) < 1e-9, 1e-9, frame[:, 2])
        ends = (np.stack([-size, size]) - start) / climb  # heights at which the line crosses each pair of faces
        enters, leaves = ends.min(axis=0).max(axis=1), ends.max(axis=0).min(axis=1)
        return float(leaves[leaves >= enters].max(initial=-np.inf))

    def but(self, *names: str) -> Blocks:
        """What stands in the way: the boxes of all other things."""
        return self.blocks[~np.isin(self.owner, names)]


def see_solids(env: Any) -> Solids:
    """The boxes of a LiberoEnv's scene now."""
    if env not in _indices:
        _indices[env] = _Index(env)
    return _indices[env].now(env.data)


class _Index:
    """Which of MuJoCo's numbers are the collision boxes; fixed once a scene is compiled."""

    def __init__(self, env: Any) -> None:
        model = env.model
        self._roots = {name: int(model.body(name + "_main").id) for name in env.poses() if name != "eef"}
        trees = np.asarray(model.body_rootid)[model.geom_bodyid]  # objects and fixtures are trees of their own
        solid = (np.asarray(model.geom_contype) | np.asarray(model.geom_conaffinity)) > 0
        found = [(name, np.flatnonzero(solid & (trees == root))) for name, root in self._roots.items()]
        self._owner = np.array([name for name, geoms in found for _ in geoms])
        self._geoms = np.concatenate([geoms for _, geoms in found])
        self._body = np.asarray(model.geom_bodyid, dtype=np.int64)[self._geoms]
        boxes = np.asarray(model.geom_aabb)[self._geoms]  # centre and half size in the geom's own frame
        self._half = boxes[:, 3:]
        self._local = boxes[:, None, :3] + _SIGNS * boxes[:, None, 3:]  # (N, 8, 3)

    def now(self, data: Any) -> Solids:
        turn = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        corners = np.einsum("nij,nkj->nki", turn, self._local) + data.geom_xpos[self._geoms][:, None]
        sides = turn * self._half[:, None]
        return Solids(
            corners,
            sides,
            _from_above(corners, sides),
            self._owner,
            self._body,
            {name: np.array(data.subtree_com[root]) for name, root in self._roots.items()},
            {name: np.array(data.xmat[root]).reshape(3, 3) for name, root in self._roots.items()},
        )


def _from_above(corners: StateArray, sides: StateArray) -> Blocks:
    """(N, 8, 3) corners and (N, 3, 3) half sides (columns) of boxes, as blocks."""
    level = np.linalg.norm(sides[:, :2], axis=1)  # (N, 3)
    longest = level.argmax(axis=1)
    chosen = np.take_along_axis(sides[:, :2], longest[:, None, None], axis=2)[..., 0]
    axis = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-9)
    frame = np.stack([axis, np.stack([-axis[:, 1], axis[:, 0]], axis=1)], axis=1)  # (N, 2, 2)
    flat = np.einsum("nij,nkj->nki", frame, corners[..., :2])  # (N, 8, 2)
    low, high = flat.min(axis=1), flat.max(axis=1)
    centre = np.einsum("nij,ni->nj", frame, (low + high) / 2)
    return Blocks(centre, axis, (high - low) / 2, corners[..., 2].min(axis=1), corners[..., 2].max(axis=1))
