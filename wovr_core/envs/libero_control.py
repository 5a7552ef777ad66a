"""One control step of LIBERO's arm, to the same bits as robosuite's own loop and at a fraction of its cost.

robosuite runs MuJoCo's whole forward stage three times a physics step, twice of them only to bring positions
and Jacobians up to date, and spends more on names and copies than on the control law. Here positions come from
`mj_step1`, torques go in, `mj_step2` integrates: the forward stage leaves no trace in the state, so nothing
changes. MuJoCo's sensors are off: LIBERO's two feed nothing but observations that nobody here reads. The
control law (Khatib 1987, operational space; fixed gains) is robosuite's: goals are set by its controller and
its compiled functions are called (`libero_law`) with arrays of the same values and memory order.
`tests/wovr_core/envs/test_libero_control.py` holds the two loops to identical states.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import IntArray, StateArray


class ArmControl:
    """Drives the robot of one LIBERO simulation. Goals and gripper command stay in robosuite's objects."""

    def __init__(self, domain: Any) -> None:
        import mujoco

        from wovr_core.envs import libero_law

        self._mujoco = mujoco
        self._law = libero_law
        self._domain = domain
        self._model = domain.sim.model._model
        self._data = domain.sim.data._data
        self._model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
        self._steps = round(domain.control_timestep / domain.model_timestep)
        robot, model = domain.robots[0], domain.sim.model
        controller = robot.controller
        law = (controller.impedance_mode, controller.interpolator_pos, controller.uncoupling)
        if law != ("fixed", None, True):
            raise WovrError("this robosuite drives LIBERO with another controller than OSC_POSE at fixed gains")
        self._site = int(model.site_name2id(controller.eef_name))
        self._places, self._dofs = _indices(controller.qpos_index), _indices(controller.qvel_index)
        self._motors = _indices(robot._ref_joint_actuator_indexes)
        self._low, self._high = (np.array(limit, dtype=np.float64) for limit in robot.torque_limits)
        self._gains = np.array([controller.kp[:3], controller.kp[3:], controller.kd[:3], controller.kd[3:]])
        self._fingers = _indices([model.actuator_name2id(name) for name in robot.gripper.actuators])
        span = self._model.actuator_ctrlrange[self._fingers]
        self._finger_middle = 0.5 * (span[:, 1] + span[:, 0])
        self._finger_half = 0.5 * (span[:, 1] - span[:, 0])

        velocities, joints = self._model.nv, len(self._dofs)
        self._mass = np.empty((velocities, velocities))
        self._jac_position, self._jac_rotation = np.empty((3, velocities)), np.empty((3, velocities))
        # In Fortran's order where robosuite's indexing leaves it so: the linear algebra rounds by it.
        self._jacobian = np.empty((joints, 6)).T
        self._inertia_position, self._inertia_rotation = np.empty((3, 3)).T, np.empty((3, 3)).T
        self._force, self._torque, self._null = np.empty(3), np.empty(3), np.empty(joints)

    def step(self, action: StateArray) -> None:
        """Execute one raw action (7,) f64 for one control period (25 physics steps of 2 ms)."""
        domain, mujoco, model, data = self._domain, self._mujoco, self._model, self._data
        controller = domain.robots[0].controller
        domain.timestep += 1
        commands = self._grip_commands(action[6:])
        # MuJoCo's arrays keep their place in memory, so that these stay its present values.
        qpos, qvel, bias, ctrl = data.qpos, data.qvel, data.qfrc_bias, data.ctrl
        hand, rotation = data.site_xpos[self._site], data.site_xmat[self._site]
        jac_position, jac_rotation = self._jac_position, self._jac_rotation
        wrench, product = np.empty(6), np.empty(len(self._dofs))
        for i in range(self._steps):
            mujoco.mj_step1(model, data)
            if i == 0:
                # What its own update would find, without another forward stage.
                controller.ee_pos, controller.ee_ori_mat = np.array(hand), np.array(rotation.reshape(3, 3))
                controller.new_update = False
                controller.set_goal(action[:6])
                goal_position, goal_rotation = np.array(controller.goal_pos), np.array(controller.goal_ori)
                rest = np.array(controller.initial_joint)
            mujoco.mj_jacSite(model, data, jac_position, jac_rotation, self._site)
            mujoco.mj_fullM(model, data, self._mass)
            self._law.aim(
                self._mass, jac_position, jac_rotation, self._dofs, qpos, self._places, qvel, hand, rotation,
                goal_position, goal_rotation, rest, self._gains,
                np.dot(jac_position, qvel), np.dot(jac_rotation, qvel), self._jacobian,
                self._inertia_position, self._inertia_rotation, self._force, self._torque, self._null,
            )  # fmt: skip
            np.dot(self._inertia_position, self._force, out=wrench[:3])
            np.dot(self._inertia_rotation, self._torque, out=wrench[3:])
            np.dot(self._jacobian.T, wrench, out=product)
            self._law.drive(
                ctrl, self._motors, self._fingers, product, bias, self._dofs, self._null, self._low, self._high,
                commands[i],
            )  # fmt: skip
            mujoco.mj_step2(model, data)
        domain.cur_time += domain.control_timestep
        controller.new_update = True  # the controller's own copy of the arm's state is stale

    def _grip_commands(self, action: StateArray) -> StateArray:
        """(steps, 2) what the fingers are told at each physics step: robosuite moves their command by and by.

        In Python's floats, which round as numpy's do: five times as fast as `PandaGripper.format_action` step by step.
        """
        gripper = self._domain.robots[0].gripper
        left, right = (float(value) for value in gripper.current_action)
        by_left, by_right = (float(value) for value in np.array([-1.0, 1.0]) * gripper.speed * np.sign(action))
        told = []
        for _ in range(self._steps):
            left, right = min(max(left + by_left, -1.0), 1.0), min(max(right + by_right, -1.0), 1.0)
            told.append((left, right))
        gripper.current_action = np.array([left, right])
        return np.asarray(self._finger_middle + self._finger_half * np.array(told))


def _indices(values: Any) -> IntArray:
    return np.array([int(i) for i in values], dtype=np.int64)
