"""What can be seen of a fixture's moving part: a drawer, a door, a knob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.errors import UnknownNameError
from wovr_core.types import StateArray


@dataclass(frozen=True)
class Part:
    """A body on one joint, at one instant; world frame, m and rad."""

    value: float
    """Position of the joint: how far a drawer is out, a door or a knob is turned."""
    axis: StateArray
    """(3,) unit vector along which (or around which) the joint's value grows."""
    anchor: StateArray
    """(3,) a point on the axis."""
    centres: StateArray
    """(G, 3) of the boxes and cylinders that the part is made of, as far as others can touch them."""
    turns: StateArray
    """(G, 3, 3) their rotations, columns are their axes."""
    halves: StateArray
    """(G, 3) half extents along their axes."""

    def reach(self, direction: StateArray) -> StateArray:
        """(G,) how far each box reaches along (3,) a unit vector; world coordinate."""
        spread = np.abs(np.einsum("gij,i->gj", self.turns, direction)) * self.halves
        return np.asarray(self.centres @ direction + spread.sum(axis=1))


class PartIndex:
    """Which joint a name of LIBERO's is about. Fixed once a scene is compiled."""

    def __init__(self, domain: Any) -> None:
        import mujoco

        model = domain.sim.model._model
        named = {**domain.fixtures_dict, **domain.object_sites_dict}
        jointed = {name: thing for name, thing in named.items() if len(getattr(thing, "joints", None) or []) == 1}
        self._joints = {name: int(model.joint(thing.joints[0]).id) for name, thing in jointed.items()}
        solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        self._geoms = {
            name: np.flatnonzero(solid & (model.geom_bodyid == model.jnt_bodyid[joint]))
            for name, joint in self._joints.items()
        }
        self._halves = model.geom_size.copy()
        round_ = np.isin(model.geom_type, [mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE])
        self._halves[round_] = self._halves[round_][:, [0, 0, 1]]

    def see(self, model: Any, data: Any, name: str) -> Part:
        """The moving part of a fixture ("flat_stove_1") or of one of its regions
        ("wooden_cabinet_1_top_region").

        Raises:
            UnknownNameError: no moving part goes by that name.
        """
        if name not in self._joints:
            raise UnknownNameError("moving part", name, self._joints)
        joint, geoms = self._joints[name], self._geoms[name]
        return Part(
            value=float(data.qpos[model.jnt_qposadr[joint]]),
            axis=np.array(data.xaxis[joint]),
            anchor=np.array(data.xanchor[joint]),
            centres=np.array(data.geom_xpos[geoms]),
            turns=np.array(data.geom_xmat[geoms]).reshape(-1, 3, 3),
            halves=self._halves[geoms],
        )
