"""The hand: what is seen of it, and the motions that all skills are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.types import ACTION_DIM, FloatArray, StateArray

OPEN, CLOSE = -1.0, 1.0
OPEN_WIDTH = 0.074
"""Fingers wider apart than this (m) count as open; they rest at 0.080."""
HAND_BELOW = 0.060
"""The palm's underside is this far (m) above the point between the fingertips."""
REACH = 0.015
"""Distance (m) at which a motion leaves full speed; about what one step covers at most."""
TURN_AT, TURN_REACH = 0.05, 0.4
"""Turns (rad) below the first are left alone, above the second they are made at full speed."""


@dataclass(frozen=True)
class Hand:
    """The hand at one instant; world frame, z up."""

    position: StateArray
    """(3,) the point between the fingertips, m."""
    yaw: float
    """Turn about the vertical, rad; 0 when the fingers open along y."""
    width: float
    """Opening of the fingers, 0 to 0.08 m."""
    tilt: StateArray
    """(2,) rotation about x and y (rad) that would have it point straight down."""

    @property
    def is_open(self) -> bool:
        return self.width > OPEN_WIDTH


def see_hand(env: Any) -> Hand:
    """The hand of a LiberoEnv now."""
    pose = np.asarray(env.poses()["eef"], dtype=np.float64)
    return Hand(pose[:3], yaw_of(pose[3:]), env.gripper_width(), tilt_of(pose[3:]))


def move(motion: StateArray, gripper: float, turn: StateArray | None = None) -> FloatArray:
    """(7,) action that moves the hand by (3,) `motion` (m) and turns it by (3,) rotation vector `turn` (rad):
    full speed until it is near, then in proportion. A turn about an axis by less than 0.05 rad is left alone:
    exactly zero, so the controller holds the one it was given last."""
    action = np.zeros(ACTION_DIM, dtype=np.float32)
    action[:3] = np.clip(np.asarray(motion) / REACH, -1, 1)
    if turn is not None:
        action[3:6] = np.where(np.abs(turn) > TURN_AT, np.clip(turn / TURN_REACH, -1, 1), 0)
    action[6] = gripper
    return action


def tilt_of(quaternion: StateArray) -> StateArray:
    """(2,) rotation about x and y (rad) that has a hand of this (4,) wxyz point straight down."""
    w, x, y, z = quaternion
    point = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])  # where fingers point
    axis = np.array([-point[1], point[0]])  # point x down, level part
    size = float(np.linalg.norm(axis))
    return axis / max(size, 1e-9) * float(np.arctan2(size, -point[2]))


def yaw_of(quaternion: StateArray) -> float:
    """Turn (rad) about the vertical of a hand that points down; (4,) wxyz."""
    w, x, y, z = (float(v) for v in quaternion)
    # first column of the rotation matrix: the line between the fingers, along y when the hand is not turned
    return float(np.arctan2(-(1 - 2 * (y * y + z * z)), 2 * (x * y + w * z)))
