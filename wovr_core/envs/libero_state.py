"""All that exact replay of LIBERO needs, as one flat vector.

MuJoCo's positions and velocities alone do not replay: robosuite keeps controller goals and the gripper's
half-closed command in Python, and LIBERO moves fixtures by editing the model. Replaying from those alone
turns successes into failures. The vector of layout 1, all f64:

| index | content |
|---|---|
| 0 | layout version |
| 1 | fingerprint of task and layout, an integer below 2^48 |
| 2 | MuJoCo version, major * 10^6 + minor * 10^3 + patch: replay is exact under one MuJoCo only |
| 3, 4, 5 | control steps since reset, control time (s), done |
| 6-7 | gripper command of the two fingers, which moves by 0.01 a physics step and saturates at -1 and 1 |
| 8-10, 11-19 | controller goal: position (m), rotation matrix; kept while no rotation is asked |
| 20-26 | joints that the controller's null space pulls towards (rad) |
| 27-29, 30-38 | pose of the hand when the controller was made |
| then 7 for each fixture | position, quaternion (wxyz) of its root body in the model, by name |
| the rest | MuJoCo's mjSTATE_INTEGRATION: time, qpos, qvel, act, warm start, ctrl, applied forces, ... |

The rest state between control steps is what is saved; everything else in mjData is derived from it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import StateArray

LAYOUT_VERSION = 1
_HEADER = 3
_CONTROL = slice(3, 39)
_FIXTURES = 39


def mujoco_version() -> int:
    """The installed MuJoCo's version as one integer."""
    import mujoco

    major, minor, patch = (int(part) for part in mujoco.__version__.split(".")[:3])
    return major * 10**6 + minor * 10**3 + patch


@dataclass(frozen=True)
class StateLayout:
    """Where things lie in the vectors of one task, and which task that is."""

    task: str
    """For messages: "libero_object/0"."""
    fixtures: tuple[int, ...]
    """Body ids of the fixtures' roots, ordered by name."""
    integration_size: int
    fingerprint: int

    @property
    def size(self) -> int:
        """S, the length of the vector."""
        return _FIXTURES + 7 * len(self.fixtures) + self.integration_size

    @classmethod
    def of(cls, task: str, domain: Any) -> StateLayout:
        """The layout of a LIBERO simulation. Decimated and stock meshes share it."""
        import mujoco

        model = domain.sim.model._model
        names = sorted(domain.fixtures_dict)
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
        joints = [model.joint(i).name for i in range(model.njnt)]
        described = json.dumps([task, LAYOUT_VERSION, names, int(size), model.nq, model.nv, model.nu, joints])
        digest = hashlib.sha256(described.encode()).digest()
        fixtures = tuple(domain.sim.model.body_name2id(domain.fixtures_dict[n].root_body) for n in names)
        return cls(task, fixtures, int(size), int.from_bytes(digest[:6], "big"))

    def check(self, vector: StateArray) -> None:
        """Raises WovrError unless the vector was saved from this task, in this layout, by this MuJoCo."""
        if vector.ndim != 1 or vector.dtype != np.float64 or vector.size < _FIXTURES:
            raise WovrError(
                f"not a simulator state: {vector.dtype} {vector.shape}; "
                f"a state of {self.task} is float64 ({self.size},)"
            )
        if vector[0] != LAYOUT_VERSION:
            raise WovrError(f"simulator state of layout {vector[0]:g}; this version reads layout {LAYOUT_VERSION}")
        if vector[1] != self.fingerprint or vector.size != self.size:
            raise WovrError(
                f"this simulator state was saved from another task than {self.task}; "
                "restore it in an environment of its own task"
            )
        if vector[2] != mujoco_version():
            raise WovrError(
                f"simulator state saved by MuJoCo {_dotted(vector[2])}, installed is "
                f"{_dotted(mujoco_version())}; exact replay needs the same one"
            )


def save(layout: StateLayout, domain: Any) -> StateArray:
    """(S,) the simulation as it rests between two control steps."""
    import mujoco

    model, data = domain.sim.model._model, domain.sim.data._data
    robot = domain.robots[0]
    controller = robot.controller
    vector = np.empty(layout.size, dtype=np.float64)
    vector[:_HEADER] = LAYOUT_VERSION, layout.fingerprint, mujoco_version()
    vector[_CONTROL] = np.concatenate(
        [
            [domain.timestep, domain.cur_time, domain.done],
            np.broadcast_to(robot.gripper.current_action, 2),
            controller.goal_pos,
            np.ravel(controller.goal_ori),
            controller.initial_joint,
            controller.initial_ee_pos,
            np.ravel(controller.initial_ee_ori_mat),
        ]
    )
    poses = vector[_FIXTURES : layout.size - layout.integration_size].reshape(-1, 7)
    for row, body in zip(poses, layout.fixtures, strict=True):
        row[:3], row[3:] = model.body_pos[body], model.body_quat[body]
    state = vector[layout.size - layout.integration_size :]
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return vector


def load(layout: StateLayout, domain: Any, vector: StateArray) -> None:
    """Put the simulation back to a saved rest state. What is derived from it is left for the caller.

    Nothing that solves for accelerations may run before the next step: it would replace the warm start that
    the step is to begin with.

    Raises:
        WovrError: the vector is of another task, layout or MuJoCo.
    """
    import mujoco

    layout.check(vector)
    model, data = domain.sim.model._model, domain.sim.data._data
    robot = domain.robots[0]
    controller = robot.controller
    control = vector[_CONTROL]
    domain.timestep, domain.cur_time, domain.done = int(control[0]), float(control[1]), bool(control[2])
    robot.gripper.current_action = control[3:5].copy()
    controller.goal_pos = control[5:8].copy()
    controller.goal_ori = control[8:17].reshape(3, 3).copy()
    controller.initial_joint = control[17:24].copy()
    controller.initial_ee_pos = control[24:27].copy()
    controller.initial_ee_ori_mat = control[27:36].reshape(3, 3).copy()
    controller.new_update = True  # what it knows of the arm is stale
    for row, body in zip(
        vector[_FIXTURES : layout.size - layout.integration_size].reshape(-1, 7), layout.fixtures, strict=True
    ):
        model.body_pos[body], model.body_quat[body] = row[:3], row[3:]
    mujoco.mj_resetData(model, data)
    state = np.ascontiguousarray(vector[layout.size - layout.integration_size :])
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)


def _dotted(version: float) -> str:
    number = int(version)
    return f"{number // 10**6}.{number // 1000 % 1000}.{number % 1000}"
