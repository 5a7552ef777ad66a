"""What is where: the collision boxes of a scene's objects and fixtures, measured from the MuJoCo model.

Nothing about an object is typed in by hand: extents, widths and rims all come from these boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from wovr_core.errors import UnknownNameError
from wovr_core.types import FloatArray

_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_indices: WeakKeyDictionary[Any, _Index] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Solids:
    """The collision boxes of everything with a name in LIBERO, at one instant; m, world frame."""

    corners: FloatArray
    """(N, 8, 3) of every box."""
    owner: tuple[str, ...]
    """Name of the object or fixture that a box belongs to."""
    body: tuple[int, ...]
    """MuJoCo's number of the body that it belongs to: a cabinet's drawers are bodies of their own."""
    centres: dict[str, FloatArray]
    """(3,) centre of mass of each object and fixture."""

    def of(self, name: str) -> FloatArray:
        """(n, 8, 3) the boxes of one object.

        Raises:
            UnknownNameError: there is nothing of this name.
        """
        if name not in self.centres:
            raise UnknownNameError("object", name, self.centres)
        return self.corners[[owner == name for owner in self.owner]]

    def of_body(self, body: int) -> FloatArray:
        """(n, 8, 3) the boxes of one of MuJoCo's bodies."""
        return self.corners[[b == body for b in self.body]]

    def but(self, *names: str) -> FloatArray:
        """(n, 6) what stands in the way: lowest x, y, z and highest x, y, z of each box of other things."""
        return bounds(self.corners[[owner not in names for owner in self.owner]])


def bounds(corners: FloatArray) -> FloatArray:
    """(n, 8, 3) -> (n, 6): lowest, then highest x, y, z of each box."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def see_solids(env: Any) -> Solids:
    """The boxes of a LiberoEnv's scene now."""
    if env not in _indices:
        _indices[env] = _Index(env)
    return _indices[env].now(env.data)


class _Index:
    """Which of MuJoCo's numbers are the collision boxes; fixed once a scene is compiled."""

    def __init__(self, env: Any) -> None:
        model = env.model
        roots = {name: model.body(name + "_main").id for name in env.poses() if name != "eef"}
        self._roots = roots
        parents = np.asarray(model.body_rootid)  # of the tree; objects and fixtures are trees of their own
        solid = (np.asarray(model.geom_contype) | np.asarray(model.geom_conaffinity)) > 0
        names, geoms = [], []
        for name, root in roots.items():
            for geom in np.flatnonzero(solid & (parents[model.geom_bodyid] == parents[root])):
                names.append(name)
                geoms.append(int(geom))
        self._geoms = np.array(geoms, dtype=np.int64)
        self._owner = tuple(names)
        self._body = tuple(int(b) for b in model.geom_bodyid[self._geoms])
        boxes = np.asarray(model.geom_aabb)[self._geoms]  # centre and half size in the geom's own frame
        self._local = boxes[:, None, :3] + _SIGNS * boxes[:, None, 3:]  # (N, 8, 3)

    def now(self, data: Any) -> Solids:
        turn = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        corners = np.einsum("nij,nkj->nki", turn, self._local) + data.geom_xpos[self._geoms][:, None]
        centres = {name: np.asarray(data.subtree_com[root], dtype=np.float32) for name, root in self._roots.items()}
        return Solids(corners.astype(np.float32), self._owner, self._body, centres)
