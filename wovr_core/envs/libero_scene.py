"""What can be read off a LIBERO scene at one instant: poses, the gripper, who touches whom."""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.errors import UnknownNameError
from wovr_core.types import FloatArray, IntArray


class SceneIndex:
    """Which numbers of MuJoCo's belong to which of LIBERO's names. Fixed once a scene is compiled."""

    def __init__(self, domain: Any) -> None:
        model = domain.sim.model
        gripper = domain.robots[0].gripper
        movable = sorted(domain.objects_dict)
        bodies = {**domain.objects_dict, **domain.fixtures_dict}
        self._bodies = {name: int(model.body_name2id(bodies[name].root_body)) for name in sorted(bodies)}
        self._sites = {model._model.site(i).name: i for i in range(model._model.nsite) if model._model.site(i).name}
        self._grip_site = int(model.site_name2id(gripper.important_sites["grip_site"]))
        self.arm = [int(i) for i in domain.robots[0]._ref_joint_pos_indexes]
        """Indices of the arm's 7 joints in qpos."""
        self._fingers = [int(model.get_joint_qpos_addr(joint)) for joint in gripper.joints]
        self._movable = movable
        free = [body for body in (self._bodies[name] for name in movable) if model._model.body_dofnum[body] == 6]
        self._drift = model._model.body_dofadr[free][:, None] + np.arange(3)
        self._owner = _owners(model._model, [self._bodies[name] for name in movable])
        self._left_pad = _mark(model, gripper.important_geoms["left_fingerpad"])
        self._right_pad = _mark(model, gripper.important_geoms["right_fingerpad"])
        self._gripper = _mark(model, gripper.contact_geoms)

    def poses(self, data: Any) -> dict[str, FloatArray]:
        """(7,) xyz + wxyz by name; "eef" is the point between the fingertips."""
        found = {
            name: np.concatenate([data.xpos[body], data.xquat[body]]).astype(np.float32)
            for name, body in self._bodies.items()
        }
        import mujoco

        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, data.site_xmat[self._grip_site])
        found["eef"] = np.concatenate([data.site_xpos[self._grip_site], quaternion]).astype(np.float32)
        return found

    def site_position(self, data: Any, name: str) -> FloatArray:
        """(3,) m.

        Raises:
            UnknownNameError: the scene has no such site.
        """
        if name not in self._sites:
            raise UnknownNameError("site", name, self._sites)
        return np.asarray(data.site_xpos[self._sites[name]], dtype=np.float32)

    def fastest(self, data: Any) -> float:
        """Speed (m/s) of the movable object that moves fastest."""
        return float(np.linalg.norm(data.qvel[self._drift], axis=1).max(initial=0.0))

    def gripper_width(self, data: Any) -> float:
        """Sum of both fingers' travel, in m."""
        return float(np.abs(data.qpos[self._fingers]).sum())

    def held(self, data: Any) -> str | None:
        """The movable object in contact with both finger pads; the first by name if there are several."""
        both = self._touching(data, self._left_pad) & self._touching(data, self._right_pad)
        return self._movable[min(both)] if both else None

    def touched(self, data: Any) -> frozenset[str]:
        """Movable objects in contact with any part of the gripper."""
        return frozenset(self._movable[i] for i in self._touching(data, self._gripper))

    def _touching(self, data: Any, marked: np.ndarray) -> set[int]:
        """Indices of the movable objects in contact with any geom that is marked in (ngeom,) bool."""
        pairs = data.contact.geom  # (ncon, 2)
        if len(pairs) == 0:
            return set()
        owners = self._owner[pairs]
        hit = np.concatenate([owners[marked[pairs[:, 0]], 1], owners[marked[pairs[:, 1]], 0]])
        return set(hit[hit >= 0].tolist())


def _owners(model: Any, roots: list[int]) -> IntArray:
    """(ngeom,) index into `roots` of the object that a geom belongs to, or -1."""
    owner_of_body = np.full(model.nbody, -1, dtype=np.int64)
    for index, root in enumerate(roots):
        owner_of_body[root] = index
    for body in range(1, model.nbody):  # parents come first
        if owner_of_body[body] < 0:
            owner_of_body[body] = owner_of_body[model.body_parentid[body]]
    return np.asarray(owner_of_body[model.geom_bodyid], dtype=np.int64)


def _mark(model: Any, names: list[str]) -> np.ndarray:
    """(ngeom,) bool, true for these geoms."""
    marked = np.zeros(model._model.ngeom, dtype=bool)
    marked[[model.geom_name2id(name) for name in names]] = True
    return marked
