"""The hand: what is seen of it, and the motions that all skills are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.types import ACTION_DIM, FloatArray

OPEN, CLOSE = -1.0, 1.0
OPEN_WIDTH = 0.074
"""Fingers wider apart than this (m) count as open; they rest at 0.080."""
HAND_BELOW = 0.060
"""The palm's underside is this far (m) above the point between the fingertips."""
HAND_HALF = (0.100, 0.032)
"""Half extents (m) of the hand along and across the line between the fingers."""
REACH = 0.015
"""Distance (m) at which a motion leaves full speed; about what one step covers at most."""


@dataclass(frozen=True)
class Hand:
    """The hand at one instant; world frame, z up."""

    position: FloatArray
    """(3,) the point between the fingertips, m."""
    yaw: float
    """Turn about the vertical, rad; 0 when the fingers open along y."""
    width: float
    """Opening of the fingers, 0 to 0.08 m."""

    @property
    def is_open(self) -> bool:
        return self.width > OPEN_WIDTH


def see_hand(env: Any) -> Hand:
    """The hand of a LiberoEnv now."""
    pose = env.poses()["eef"]
    return Hand(pose[:3], yaw_of(pose[3:]), env.gripper_width())


def move(motion: FloatArray, gripper: float, turn: float = 0.0, reach: float = REACH) -> FloatArray:
    """(7,) action that moves the hand by (3,) `motion` (m) and turns it by `turn` (rad): full speed until
    `reach`, then in proportion. A turn below 0.05 rad is left alone: exactly zero."""
    action = np.zeros(ACTION_DIM, dtype=np.float32)
    action[:3] = np.clip(np.asarray(motion) / reach, -1, 1)
    if abs(turn) > 0.05:
        action[5] = np.clip(turn / 0.2, -1, 1)
    action[6] = gripper
    return action


def yaw_of(quaternion: FloatArray) -> float:
    """Turn (rad) about the vertical of a hand that points down; (4,) wxyz."""
    w, x, y, z = (float(v) for v in quaternion)
    # first column of the rotation matrix: the line between the fingers, along y when the hand is not turned
    return float(np.arctan2(-(1 - 2 * (y * y + z * z)), 2 * (x * y + w * z)))
