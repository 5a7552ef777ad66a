"""The control law of LIBERO's arm in two compiled functions, for `libero_control`.

Each calls robosuite's own compiled functions on arrays of the values, types and memory orders that robosuite
hands them, and does in between what robosuite does in numpy, operation by operation: the torques are the same
bits. What goes through BLAS there (products with vectors) stays with numpy in `libero_control`, since the
library behind numba's products may round otherwise.

Importing this module imports numba and robosuite.
"""

from __future__ import annotations

import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

from wovr_core.types import IntArray, StateArray


@numba.njit(cache=True)
def aim(
    mass: StateArray,
    jac_position: StateArray,
    jac_rotation: StateArray,
    dofs: IntArray,
    qpos: StateArray,
    places: IntArray,
    qvel: StateArray,
    hand: StateArray,
    rotation: StateArray,
    goal_position: StateArray,
    goal_rotation: StateArray,
    rest: StateArray,
    gains: StateArray,
    speed: StateArray,
    turn: StateArray,
    jacobian: StateArray,
    inertia_position: StateArray,
    inertia_rotation: StateArray,
    force: StateArray,
    torque: StateArray,
    null: StateArray,
) -> None:
    """From the state of the arm to what the torques are multiplied out of.

    Args:
        mass: (nv, nv). jac_position, jac_rotation: (3, nv), of the hand.
        dofs, places: (7,) where the arm's joints stand in qvel and qpos.
        hand, rotation: (3,), (9,) pose of the hand. goal_position, goal_rotation: (3,), (3, 3).
        rest: (7,) joints that the null space pulls towards.
        gains: (4, 3) rows: stiffness of position, of rotation, damping of position, of rotation.
        speed, turn: (3,) of the hand.
        jacobian: (6, 7) in Fortran's order; it and all that follow are written.
        inertia_position, inertia_rotation: (3, 3) in Fortran's order. force, torque: (3,). null: (7,) N m.
    """
    joints = len(dofs)
    arm_mass = np.empty((joints, joints)).T
    for i in range(joints):
        for j in range(joints):
            arm_mass[i, j] = mass[dofs[i], dofs[j]]
    arm_position, arm_rotation = np.empty((joints, 3)).T, np.empty((joints, 3)).T
    for row in range(3):
        for j in range(joints):
            arm_position[row, j] = jacobian[row, j] = jac_position[row, dofs[j]]
            arm_rotation[row, j] = jacobian[3 + row, j] = jac_rotation[row, dofs[j]]
    error = orientation_error(goal_rotation, rotation.reshape((3, 3)))
    for i in range(3):
        force[i] = (goal_position[i] - hand[i]) * gains[0, i] + -speed[i] * gains[2, i]
        torque[i] = error[i] * gains[1, i] + -turn[i] * gains[3, i]
    _, found_position, found_rotation, null_space = opspace_matrices(arm_mass, jacobian, arm_position, arm_rotation)
    inertia_position[:] = found_position
    inertia_rotation[:] = found_rotation
    positions, velocities = np.empty(joints), np.empty(joints)
    for i in range(joints):
        positions[i] = qpos[places[i]]
        velocities[i] = qvel[dofs[i]]
    null[:] = nullspace_torques(arm_mass, null_space, rest, positions, velocities)


@numba.njit(cache=True)
def drive(
    ctrl: StateArray,
    motors: IntArray,
    fingers: IntArray,
    product: StateArray,
    bias: StateArray,
    dofs: IntArray,
    null: StateArray,
    low: StateArray,
    high: StateArray,
    grip: StateArray,
) -> None:
    """Write (nu,) `ctrl`: task-space torques + gravity + null space, within the motors' limits; and the fingers'.

    Args:
        motors, fingers: where the arm's and the gripper's commands stand in ctrl.
        product: (7,) the task-space torques. bias: (nv,) gravity and Coriolis. null: (7,). low, high: (7,).
        grip: (2,) the fingers' commands.
    """
    for i in range(len(motors)):
        total = product[i] + bias[dofs[i]] + null[i]
        ctrl[motors[i]] = min(max(total, low[i]), high[i])
    for i in range(len(fingers)):
        ctrl[fingers[i]] = grip[i]
