"""Where to take hold of an object: grips found on its collision boxes, and the one that suits best now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wovr_core.envs.expert.hand import HAND_BELOW, Hand
from wovr_core.envs.expert.solids import bounds
from wovr_core.types import FloatArray

Manner = Literal["across", "rim"]
MANNERS: dict[str, Manner] = {
    "akita_black_bowl": "rim",
    "white_bowl": "rim",
    "glazed_rim_porcelain_ramekin": "rim",
    "plate": "rim",
    "porcelain_mug": "rim",
    "red_coffee_mug": "rim",
    "white_yellow_mug": "rim",
}
"""Objects taken by the rim, one finger inside; all others are taken across, between the fingers."""

FINGER_SPOTS = np.array([[along, across] for along in (0.036, 0.055) for across in (-0.011, 0.011)], dtype=np.float32)
"""(4, 2) corners (m) of an open finger seen from above: along and across the line between the fingers."""
PALM_SPOTS = np.array(
    [[along, across] for along in (-0.1, -0.05, 0, 0.05, 0.1) for across in (-0.032, 0, 0.032)], dtype=np.float32
)
"""(15, 2) points of the palm's underside, likewise."""
FINGER_BELOW = 0.010
"""The fingertips reach this far (m) below the grip point."""


@dataclass(frozen=True)
class Grip:
    """One way to hold an object, at one instant."""

    point: FloatArray
    """(3,) where the point between the fingertips belongs, m, world frame."""
    turn: float
    """What the hand has yet to turn about the vertical to take it so, rad."""
    width: float
    """Distance between the fingers once they hold it, m."""


_Grips = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
"""Candidates: points (C, 3), the hand's yaw at each (C,), the width there (C,), and the object's own boxes that
are in the hand's way (n, 6)."""


@dataclass(frozen=True)
class GripConfig:
    """How grips are chosen; lengths in m."""

    depth: float = 0.035
    """How far below an object's highest point it is taken across: as low as the palm allows, but not below
    its middle."""
    rim_depth: float = 0.022
    """How far below a rim its wall is taken."""
    floor: float = 0.011
    """Height of the grip point above what the object stands on, at least."""
    widest: float = 0.070
    """What the open fingers can take."""
    clearance: float = 0.012
    """Room between the open hand and its neighbours beyond which more is not worth a detour."""
    turn_cost: float = 0.06
    """What a turn of 1 rad is worth in sideways distance."""
    hit_cost: float = 20.0
    """Sideways distance worth going to avoid being 1 m short of clearance."""


def manner_of(name: str) -> Manner:
    """How an object such as "plate_1" is taken."""
    return MANNERS.get(name.rpartition("_")[0], "across")


def best_grip(
    name: str, corners: FloatArray, centre: FloatArray, hand: Hand, obstacles: FloatArray, config: GripConfig
) -> Grip:
    """The grip that costs least: in way, turn, and lack of room for the open hand.

    Args:
        name: of the object.
        corners: (n, 8, 3) of its boxes.
        centre: (3,) its centre of mass.
        hand: now; the nearer grip wins, so that a hand that is on its way to one stays with it.
        obstacles: (m, 6) boxes of other things.
    """
    made = _rim_grips if manner_of(name) == "rim" else _across_grips
    points, yaws, widths, own = made(corners, centre, hand, config)
    turns = np.array([nearest_turn(yaw, hand.yaw) for yaw in yaws])
    room = hand_room(points, hand.yaw + turns, np.concatenate([_near(obstacles, centre), own]))
    cost = np.linalg.norm((points - hand.position)[:, :2], axis=1) + config.turn_cost * np.abs(turns)
    cost += config.hit_cost * np.maximum(config.clearance - room, 0) + 10 * np.maximum(widths - config.widest, 0)
    best = int(cost.argmin())
    return Grip(points[best].astype(np.float32), float(turns[best]), float(widths[best]))


def nearest_turn(yaw: float, now: float) -> float:
    """The turn (rad) from `now` to `yaw` or its half turn, for a hand of two like fingers, within the wrist's
    range of about 110 degrees either way."""
    turn = float((yaw - now + np.pi / 2) % np.pi - np.pi / 2)
    if abs(now + turn) > 1.9:
        turn -= np.pi * np.sign(turn)
    return turn


def hand_room(points: FloatArray, yaws: FloatArray, obstacles: FloatArray) -> FloatArray:
    """(C,) sideways distance (m) between an open hand and the nearest box that reaches as high; negative for
    what it would sink into; 1 where there is nothing.

    Args:
        points: (C, 3) between the fingertips.
        yaws: (C,) of the hand.
        obstacles: (m, 6).
    """
    fingers = np.concatenate([FINGER_SPOTS, -FINGER_SPOTS])
    along = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)  # (C, 2)
    frame = np.stack([along, np.stack([along[:, 1], -along[:, 0]], axis=1)], axis=1)  # (C, 2, 2): along, across
    spots = np.concatenate([fingers, PALM_SPOTS]) @ frame + points[:, None, :2]  # (C, P, 2)
    below = np.repeat([-FINGER_BELOW, HAND_BELOW], [len(fingers), len(PALM_SPOTS)])
    reaching = obstacles[:, 5] > points[:, 2, None, None] + below[:, None] + 0.002  # (C, P, m)
    middle, half = (obstacles[:, :2] + obstacles[:, 3:5]) / 2, (obstacles[:, 3:5] - obstacles[:, :2]) / 2
    x, y = (np.abs(spots[:, :, None, k] - middle[:, k]) - half[:, k] for k in (0, 1))
    apart = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
    return np.where(reaching, apart, 1.0).min(axis=(1, 2), initial=1.0)


def _near(obstacles: FloatArray, centre: FloatArray) -> FloatArray:
    """Those that a hand at the object could reach."""
    apart = np.maximum(obstacles[:, :2] - centre[:2], centre[:2] - obstacles[:, 3:5]).max(axis=1)
    return obstacles[apart < 0.25]


def _across_grips(corners: FloatArray, centre: FloatArray, hand: Hand, config: GripConfig) -> _Grips:
    boxes = bounds(corners)
    low, high = float(boxes[:, 2].min()), float(boxes[:, 5].max())
    z = max(high - config.depth, (low + high) / 2, low + config.floor)
    slab = corners[(boxes[:, 2] < z + 0.010) & (boxes[:, 5] > z - 0.010)].reshape(-1, 3)[:, :2]
    yaws = np.radians(np.arange(-90, 90, 15))
    along = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)  # (C, 2)
    extent = slab @ along.T  # (n, C)
    low_end, high_end = extent.min(axis=0), extent.max(axis=0)
    middle = centre[:2] + along * ((low_end + high_end) / 2 - along @ centre[:2])[:, None]
    points = np.concatenate([middle, np.full((len(yaws), 1), z)], axis=1)
    return points, yaws, high_end - low_end, np.zeros((0, 6), np.float32)


def _rim_grips(corners: FloatArray, centre: FloatArray, hand: Hand, config: GripConfig) -> _Grips:
    middle, radius, top = rim_of(corners)
    boxes = bounds(corners)
    z = max(top - config.rim_depth, float(boxes[:, 2].min()) + config.floor)
    away = np.linalg.norm((boxes[:, :2] + boxes[:, 3:5]) / 2 - middle, axis=1)
    here = float(np.arctan2(*(hand.position[:2] - middle)[::-1]))
    angles = np.array([here, *np.radians(range(0, 360, 15))])
    out = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate([middle + radius * out, np.full((len(angles), 1), z)], axis=1)
    handle = boxes[away > radius + 0.012]
    return points, angles - np.pi / 2, np.full(len(angles), 0.005), handle


def rim_of(corners: FloatArray) -> tuple[FloatArray, float, float]:
    """Centre (2,), radius and height (m) of the rim of a round vessel, in the middle of its wall."""
    boxes = bounds(corners)
    top = float(boxes[:, 5].max())
    rim = corners[boxes[:, 5] > top - 0.008].reshape(-1, 3)
    rim = rim[rim[:, 2] > top - 0.015]
    low, high = rim[:, :2].min(axis=0), rim[:, :2].max(axis=0)
    return (low + high) / 2, float((high - low).mean() / 2) - 0.002, top
