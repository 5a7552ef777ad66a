"""One control step of LIBERO's arm, to the same bits as robosuite's own loop and at a third of its cost.

robosuite runs MuJoCo's whole forward stage three times a physics step, twice of them only to bring positions
and Jacobians up to date, and spends more on names and copies than on the control law. Here positions come from
`mj_step1`, torques go in, `mj_step2` integrates: the forward stage leaves no trace in the state, so nothing
changes. The control law (Khatib 1987, operational space; fixed gains) is robosuite's: goals are set by its
controller and its compiled functions are called with arrays of the same values and memory order.
`tests/wovr_core/envs/test_libero_control.py` holds the two loops to identical states.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import StateArray


class ArmControl:
    """Drives the robot of one LIBERO simulation. Goals and gripper command stay in robosuite's objects."""

    def __init__(self, domain: Any) -> None:
        import mujoco
        from robosuite.utils import control_utils

        self._mujoco = mujoco
        self._law = control_utils
        self._domain = domain
        self._model = domain.sim.model._model
        self._data = domain.sim.data._data
        self._steps = round(domain.control_timestep / domain.model_timestep)
        robot, model = domain.robots[0], domain.sim.model
        controller = robot.controller
        law = (controller.impedance_mode, controller.interpolator_pos, controller.uncoupling)
        if law != ("fixed", None, True):
            raise WovrError("this robosuite drives LIBERO with another controller than OSC_POSE at fixed gains")
        self._site = int(model.site_name2id(controller.eef_name))
        self._qpos, self._qvel = controller.qpos_index, controller.qvel_index
        self._arm = list(robot._ref_joint_actuator_indexes)
        self._low, self._high = robot.torque_limits
        self._kp_position, self._kp_rotation = np.array(controller.kp[0:3]), np.array(controller.kp[3:6])
        self._kd_position, self._kd_rotation = controller.kd[0:3], controller.kd[3:6]
        self._fingers = [int(model.actuator_name2id(name)) for name in robot.gripper.actuators]
        span = self._model.actuator_ctrlrange[self._fingers]
        self._finger_middle = 0.5 * (span[:, 1] + span[:, 0])
        self._finger_half = 0.5 * (span[:, 1] - span[:, 0])

    def step(self, action: StateArray) -> None:
        """Execute one raw action (7,) f64 for one control period (25 physics steps of 2 ms)."""
        domain, mujoco, model, data = self._domain, self._mujoco, self._model, self._data
        controller, gripper = domain.robots[0].controller, domain.robots[0].gripper
        domain.timestep += 1
        for i in range(self._steps):
            mujoco.mj_step1(model, data)
            if i == 0:
                controller.set_goal(action[:6])
            data.ctrl[self._arm] = np.clip(self._torques(controller), self._low, self._high)
            command = gripper.format_action(action[6:])
            data.ctrl[self._fingers] = self._finger_middle + self._finger_half * command
            mujoco.mj_step2(model, data)
        domain.cur_time += domain.control_timestep
        controller.new_update = True  # the controller's own copy of the arm's state is stale

    def _torques(self, controller: Any) -> StateArray:
        """(7,) N m: the task-space spring and damper, gravity, and the null space's pull."""
        data, law = self._data, self._law
        jac_position, jac_rotation = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        self._mujoco.mj_jacSite(self._model, data, jac_position, jac_rotation, self._site)
        speed, turn = np.dot(jac_position, data.qvel), np.dot(jac_rotation, data.qvel)
        # np.array keeps the order that indexing leaves, and the linear algebra below rounds by it.
        jac_position = np.array(jac_position[:, self._qvel])
        jac_rotation = np.array(jac_rotation[:, self._qvel])
        jacobian = np.concatenate([jac_position, jac_rotation])
        mass = np.empty((self._model.nv, self._model.nv))
        self._mujoco.mj_fullM(self._model, data, mass)
        mass = mass[self._qvel, :][:, self._qvel]

        position_error = controller.goal_pos - data.site_xpos[self._site]
        rotation = np.array(data.site_xmat[self._site].reshape([3, 3]))
        rotation_error = law.orientation_error(np.array(controller.goal_ori), rotation)
        force = position_error * self._kp_position + -speed * self._kd_position
        torque = rotation_error * self._kp_rotation + -turn * self._kd_rotation
        _, inertia_position, inertia_rotation, null_space = law.opspace_matrices(
            mass, jacobian, jac_position, jac_rotation
        )
        wrench = np.concatenate([np.dot(inertia_position, force), np.dot(inertia_rotation, torque)])
        torques = np.dot(jacobian.T, wrench) + data.qfrc_bias[self._qvel]
        return torques + law.nullspace_torques(
            mass,
            null_space,
            controller.initial_joint,
            np.array(data.qpos[self._qpos]),
            np.array(data.qvel[self._qvel]),
        )
