"""The hand with all its turns: for skills that lean it over, as pulling a drawer's handle asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import OPEN, OPEN_WIDTH, move
from wovr_core.types import FloatArray, StateArray

UP = np.array([0.0, 0.0, 1.0])
TURN_AT = 0.03
"""Turns (rad) below this are left alone: exactly zero, so the controller holds the one it was given last."""
TURN_REACH = 0.3
"""Turn (rad) at which turning leaves full speed."""


@dataclass(frozen=True)
class Wrist:
    """The hand at one instant; world frame, z up."""

    position: StateArray
    """(3,) the point between the fingertips, m."""
    turn: StateArray
    """(3, 3) rotation: columns are the line between the fingers, the line across them, where they point."""
    width: float
    """Opening of the fingers, 0 to 0.08 m."""

    @property
    def lean(self) -> float:
        """Angle (rad) between where the fingers point and straight down."""
        return float(np.arccos(np.clip(-self.turn[2, 2], -1, 1)))

    def nearer(self, across: StateArray) -> StateArray:
        """(3,) `across` or its opposite, whichever is nearer to the line across the fingers now."""
        return across if across @ self.turn[:, 1] >= 0 else -across


def see_wrist(env: Any) -> Wrist:
    """The hand of a LiberoEnv now."""
    pose = np.asarray(env.poses()["eef"], dtype=np.float64)
    w, x, y, z = pose[3:]
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return Wrist(pose[:3], turn, env.gripper_width())


def upright(across: StateArray) -> StateArray:
    """(3, 3) rotation of a hand that points down, with (3,) `across`, level, the line across its fingers."""
    return np.stack([np.cross(across, -UP), across, -UP], axis=1)


def leaning(direction: StateArray, lean: float, across: StateArray | None = None) -> StateArray:
    """(3, 3) rotation of a hand whose fingers point down and, by `lean` rad, along (3,) `direction`, level.

    `across` (3,), level, is the line across the fingers of that hand before it leans over; by default the
    line at right angles to `direction` that is nearer to that of the hand at rest, world x.
    """
    if across is None:
        across = np.cross(direction, UP)
        across = across if across[0] >= 0 else -across
    axis = np.cross(-UP, direction)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    over = np.eye(3) + np.sin(lean) * skew + (1 - np.cos(lean)) * skew @ skew
    return np.asarray(over @ upright(across))


def turn_between(now: StateArray, then: StateArray) -> StateArray:
    """(3,) rotation vector (rad, world frame) from rotation `now` to rotation `then`, both (3, 3)."""
    error = then @ now.T
    angle = float(np.arccos(np.clip((np.trace(error) - 1) / 2, -1, 1)))
    axis = np.array([error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]])
    norm = float(np.linalg.norm(axis))
    return np.zeros(3) if norm < 1e-9 else axis / norm * angle


def move_and_turn(motion: StateArray, turn: StateArray, gripper: float) -> FloatArray:
    """(7,) action that moves the hand by (3,) `motion` (m) and turns it by (3,) rotation vector `turn`."""
    action = move(np.asarray(motion, dtype=np.float32), gripper)
    angle = float(np.linalg.norm(turn))
    if angle > TURN_AT:
        action[3:6] = turn / max(angle, TURN_REACH)
    return action


def is_around(wrist: Wrist, error: StateArray, posture: StateArray) -> bool:
    """Whether closing the fingers would take what lies `error` away. Fingers that are closing tolerate more error."""
    slack = 0.0 if wrist.width > OPEN_WIDTH else 0.012
    off = np.abs(posture.T @ error)
    turn = float(np.linalg.norm(turn_between(wrist.turn, posture)))
    return bool(off[0] < 0.012 + slack and off[1] < 0.02 + slack and off[2] < 0.010 + slack and turn < 0.25)


def reach_for(wrist: Wrist, error: StateArray, posture: StateArray, back: float) -> FloatArray:
    """Open hand to a place, from the side its fingers will point away from: it advances as it gets in line."""
    turn = turn_between(wrist.turn, posture)
    forward = posture[:, 2]
    sideways = float(np.linalg.norm(error - (error @ forward) * forward))
    off = max(sideways - 0.006, 0.0) + 0.1 * max(float(np.linalg.norm(turn)) - 0.1, 0.0)
    if wrist.width < OPEN_WIDTH:
        off += 0.02
    return move_and_turn(error - min(6.0 * off, back) * forward, turn, OPEN)
