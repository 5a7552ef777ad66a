"""Forward and inverse kinematics of the FR3 / Panda with the Franka hand.

Modified Denavit-Hartenberg parameters as Franka publishes them (https://frankarobotics.github.io/docs,
"Robot and interface specifications"); the tool centre point is the one that Desk sets for the Franka hand:
0.1034 m below the flange, turned by -45 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wovr_core.robots.base import Limits, RobotError, Vector, WorkspaceError
from wovr_core.robots.safety.limiter import conjugate, in_box, multiply, rotation_vector

HOME = (0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4)
"""rad, the arm's usual ready position."""
JOINT_LOW = np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159])
JOINT_HIGH = np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159])
"""rad, of the FR3 (the stricter arm)."""
_DH = (  # a (m), d (m), alpha (rad) before each joint
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
_FLANGE_TO_TCP = (0.107 + 0.1034, -np.pi / 4)


def frames(q: Vector) -> Vector:
    """(8, 4, 4): the frame of each joint, and the tool's, in the base frame."""
    result = np.empty((8, 4, 4))
    pose = np.eye(4)
    for index, ((a, d, alpha), angle) in enumerate(zip(_DH, q, strict=True)):
        pose = pose @ _link(a, d, alpha, float(angle))
        result[index] = pose
    result[7] = pose @ _link(0.0, _FLANGE_TO_TCP[0], 0.0, _FLANGE_TO_TCP[1])
    return result


def _link(a: float, d: float, alpha: float, theta: float) -> Vector:
    ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
    return np.array([[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]])


def forward(q: Sequence[float] | Vector) -> Vector:
    """The tool's pose (7,) at joint positions (7,) rad."""
    return to_pose(frames(np.asarray(q, dtype=float))[7])


def to_pose(matrix: Vector) -> Vector:
    """(4, 4) -> (7,), w >= 0."""
    rotation = matrix[:3, :3]
    # Each row is |component| by component: the largest one decides, which is numerically safe (Shepperd, 1978).
    w, x, y, z = (
        1 + np.trace(rotation),
        1 + rotation[0, 0] - rotation[1, 1] - rotation[2, 2],
        1 - rotation[0, 0] + rotation[1, 1] - rotation[2, 2],
        1 - rotation[0, 0] - rotation[1, 1] + rotation[2, 2],
    )
    (r21, r12), (r02, r20), (r10, r01) = (
        (rotation[2, 1], rotation[1, 2]),
        (rotation[0, 2], rotation[2, 0]),
        (rotation[1, 0], rotation[0, 1]),
    )
    rows = (
        (x, r10 + r01, r02 + r20, r21 - r12),
        (r10 + r01, y, r21 + r12, r02 - r20),
        (r02 + r20, r21 + r12, z, r10 - r01),
        (r21 - r12, r02 - r20, r10 - r01, w),
    )
    quaternion = np.array(rows[int(np.argmax((x, y, z, w)))])
    quaternion /= np.linalg.norm(quaternion) * (1 if quaternion[3] >= 0 else -1)
    return np.concatenate([matrix[:3, 3], quaternion])


def jacobian(q: Vector) -> Vector:
    """(6, 7): tool twist (m/s, rad/s) by joint velocity."""
    chain = frames(q)
    axes, origins = chain[:7, :3, 2], chain[:7, :3, 3]
    return np.concatenate([np.cross(axes, chain[7, :3, 3] - origins).T, axes.T])


def solve(pose: Sequence[float] | Vector, near: Sequence[float] | Vector, iterations: int = 100) -> Vector:
    """Joint positions (7,) that reach `pose` (7,), found from `near` by damped least squares.

    Raises RobotError if it is out of reach (within 0.1 mm and 1 mrad).
    """
    pose, q = np.asarray(pose, dtype=float), np.array(near, dtype=float)
    for _ in range(iterations):
        now = forward(q)
        error = np.concatenate([pose[:3] - now[:3], rotation_vector(multiply(pose[3:], conjugate(now[3:])))])
        if np.linalg.norm(error[:3]) < 1e-4 and np.linalg.norm(error[3:]) < 1e-3:
            return q
        matrix = jacobian(q)
        step = matrix.T @ np.linalg.solve(matrix @ matrix.T + 1e-5 * np.eye(6), error)
        q = np.clip(q + np.clip(step, -0.3, 0.3), JOINT_LOW, JOINT_HIGH)
    where = ", ".join(f"{value:.3f}" for value in pose[:3])
    raise RobotError(f"the pose at ({where}) m is out of the arm's reach from where it stands")


def check_reset_goal(q: Sequence[float] | None, pose: Sequence[float] | None, limits: Limits) -> Vector:
    """The goal as an array (7,). Raises RobotError, WorkspaceError."""
    if (q is None) == (pose is None):
        raise RobotError("reset needs exactly one of q (7 joint positions) and pose (7: position, quaternion xyzw)")
    goal = np.asarray(q if q is not None else pose, dtype=float)
    if goal.shape != (7,) or not np.isfinite(goal).all():
        raise RobotError(f"a reset goal is 7 finite numbers, not {goal.tolist()}")
    if q is not None and ((goal < JOINT_LOW) | (goal > JOINT_HIGH)).any():
        raise RobotError(f"joint positions {goal.round(3).tolist()} are beyond the joint limits")
    if pose is not None and abs(np.linalg.norm(goal[3:]) - 1) > 1e-3:
        raise RobotError(f"the quaternion {goal[3:].tolist()} of the reset pose is not of length 1")
    position = goal[:3] if q is None else forward(goal)[:3]
    if not in_box(position, limits):
        where = ", ".join(f"{value:.3f}" for value in position)
        raise WorkspaceError(f"reset to ({where}) m would leave the workspace box")
    return goal
