"""Where to take hold of an object: grips found on its collision boxes, and the one that suits best now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wovr_core.envs.expert.hand import HAND_BELOW, Hand
from wovr_core.envs.expert.solids import Blocks, Solids
from wovr_core.types import StateArray

Manner = Literal["across", "rim", "handle"]
MANNERS: dict[str, Manner] = {
    "akita_black_bowl": "rim",
    "white_bowl": "rim",
    "glazed_rim_porcelain_ramekin": "rim",
    "plate": "rim",
    "porcelain_mug": "rim",
    "red_coffee_mug": "rim",
    "white_yellow_mug": "rim",
    "moka_pot": "handle",
}
"""Objects taken by the rim, one finger inside, or by their handle; all others across, between the fingers."""

FINGER_SPOTS = np.array(
    [[along, across] for along in (0.010, 0.025, 0.040, 0.055) for across in (-0.011, 0.011)], dtype=np.float64
)
"""(8, 2) points (m) that a finger seen from above passes as it closes: along and across the fingers' line."""
PALM_SPOTS = np.array(
    [[along, across] for along in (-0.1, -0.05, 0, 0.05, 0.1) for across in (-0.032, 0, 0.032)], dtype=np.float64
)
"""(15, 2) points of the palm's underside, likewise."""
WALL = 0.011
"""Distance (m) between fingers that hold a wall, which may lean."""
HANDLE_AWAY = 0.05
"""Boxes farther (m) from an object's middle than this belong to its handle."""
HANDLE_THICK = 0.02
"""Handles are thinner (m) than this."""
HANDLE_DEPTH = 0.014
"""How far (m) below its top a handle is taken."""
FINGER_BELOW = 0.010
"""The fingertips reach this far (m) below the grip point."""


@dataclass(frozen=True)
class Grip:
    """One way to hold an object, at one instant."""

    point: StateArray
    """(3,) where the point between the fingertips belongs, m, world frame."""
    turn: float
    """What the hand has yet to turn about the vertical to take it so, rad."""
    width: float
    """Distance between the fingers once they hold it, m."""


_Grips = tuple[StateArray, StateArray, StateArray, Blocks]
"""Candidates: points (C, 3), the hand's yaw at each (C,), the width there (C,), and the object's own boxes that
are in the hand's way."""


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
    side: tuple[float, float] = (0.0, 0.0)
    """Level unit vector from the object's middle to where it had better be taken; none by default."""
    side_cost: float = 3.0
    """Sideways distance worth going to avoid being 1 m on the wrong side."""
    far_cost: float = 0.0
    """... or on the far side, where between the two is best."""
    hit_cost: float = 20.0
    """Sideways distance worth going to avoid being 1 m short of clearance."""


def manner_of(name: str) -> Manner:
    """How an object such as "plate_1" is taken."""
    return MANNERS.get(name.rpartition("_")[0], "across")


def best_grip(name: str, solids: Solids, hand: Hand, config: GripConfig) -> Grip:
    """The grip of an object that costs least: in way, turn, and lack of room for the open hand.

    The nearer grip wins, so that a hand that is on its way to one stays with it.
    """
    made = {"rim": _rim_grips, "handle": _handle_grips, "across": _across_grips}[manner_of(name)]
    points, yaws, widths, own = made(name, solids, hand, config)
    if len(points) == 0:  # a pot that lies on its handle
        points, yaws, widths, own = _across_grips(name, solids, hand, config)
    turns = np.array([nearest_turn(float(yaw), hand.yaw) for yaw in yaws])
    others = solids.but(name).near(solids.centres[name][:2], 0.2)
    room = hand_room(points, hand.yaw + turns, others + own)
    cost = np.linalg.norm((points - hand.position)[:, :2], axis=1) + config.turn_cost * np.abs(turns)
    cost += config.hit_cost * np.maximum(config.clearance - room, 0) + np.where(widths > config.widest, 100, 0)
    sided = (points[:, :2] - solids.centres[name][:2]) @ np.array(config.side)
    cost += config.far_cost * np.maximum(sided, 0) - config.side_cost * np.minimum(sided, 0)
    best = int(cost.argmin())
    return Grip(points[best], float(turns[best]), float(widths[best]))


def nearest_turn(yaw: float, now: float) -> float:
    """The turn (rad) from `now` to `yaw` or its half turn, for a hand of two like fingers, within the wrist's
    range of about 110 degrees either way."""
    turn = float((yaw - now + np.pi / 2) % np.pi - np.pi / 2)
    if abs(now + turn) > 1.9:
        turn -= np.pi * np.sign(turn)
    return turn


def hand_room(points: StateArray, yaws: StateArray, blocks: Blocks) -> StateArray:
    """(C,) sideways distance (m) between an open hand and the nearest block that reaches as high; negative for
    what it would sink into; 1 where there is nothing.

    Args:
        points: (C, 3) between the fingertips.
        yaws: (C,) of the hand.
        blocks: m of them.
    """
    fingers = np.concatenate([FINGER_SPOTS, -FINGER_SPOTS])
    spots = points[:, None, :2] + seen_from_above(np.concatenate([fingers, PALM_SPOTS]), yaws)  # (C, P, 2)
    below = np.repeat([-FINGER_BELOW, HAND_BELOW], [len(fingers), len(PALM_SPOTS)])
    reaching = blocks.high > points[:, 2, None, None] + below[:, None] + 0.002  # (C, P, m)
    return np.asarray(np.where(reaching, blocks.distance(spots), 1.0).min(axis=(1, 2), initial=1.0))


def seen_from_above(spots: StateArray, yaws: StateArray | float) -> StateArray:
    """(P, 2) along and across the fingers' line -> (..., P, 2) x and y, for a hand turned by (...) `yaws`."""
    along = np.stack([-np.sin(yaws), np.cos(yaws)], axis=-1)  # (..., 2)
    frame = np.stack([along, np.stack([along[..., 1], -along[..., 0]], axis=-1)], axis=-2)
    return np.asarray(spots @ frame)


def _across_grips(name: str, solids: Solids, hand: Hand, config: GripConfig) -> _Grips:
    corners, blocks, centre = solids.of(name), solids.blocks[solids.owner == name], solids.centres[name]
    low, high = float(blocks.low.min()), float(blocks.high.max())
    z = max(high - config.depth, (low + high) / 2, low + config.floor)
    slab = corners[(blocks.low < z + 0.010) & (blocks.high > z - 0.010)].reshape(-1, 3)[:, :2]
    yaws = np.radians(np.arange(-90, 90, 15))
    along = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)  # (C, 2)
    extent = slab @ along.T  # (n, C)
    low_end, high_end = extent.min(axis=0), extent.max(axis=0)
    middle = centre[:2] + along * ((low_end + high_end) / 2 - along @ centre[:2])[:, None]
    points = np.concatenate([middle, np.full((len(yaws), 1), z)], axis=1)
    return points, yaws, high_end - low_end, blocks[:0]


def _handle_grips(name: str, solids: Solids, hand: Hand, config: GripConfig) -> _Grips:
    """On each box that stands out far from the middle and is thin: near its top, across its thin side."""
    blocks, middle = solids.blocks[solids.owner == name], solids.centres[name][:2]
    away = np.linalg.norm(blocks.centre - middle, axis=1)
    standing_out = (away > HANDLE_AWAY) & (blocks.half[:, 1] < HANDLE_THICK / 2) & (blocks.high > middle_height(blocks))
    chosen = blocks[standing_out]
    points = np.concatenate([chosen.centre, chosen.high[:, None] - HANDLE_DEPTH], axis=1)
    yaws = np.arctan2(chosen.axis[:, 1], chosen.axis[:, 0])
    return points, yaws, 2 * chosen.half[:, 1], blocks[away <= HANDLE_AWAY]


def middle_height(blocks: Blocks) -> float:
    """Half way between the lowest and the highest point (m)."""
    return float(blocks.low.min() + blocks.high.max()) / 2


def _rim_grips(name: str, solids: Solids, hand: Hand, config: GripConfig) -> _Grips:
    corners, blocks, turn = solids.of(name), solids.blocks[solids.owner == name], solids.turns[name]
    own = (corners - solids.centres[name]) @ turn  # in the vessel's own frame
    middle, radius, top = rim_of(own)
    at = (hand.position - solids.centres[name]) @ turn - middle
    here = float(np.arctan2(at[1], at[0]))
    angles = np.array([here, *np.radians(range(0, 360, 15))])
    depth = min(config.rim_depth, top - float(own[..., 2].min()) - config.floor)
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(len(angles), -depth)], axis=1)
    out = ring @ turn.T
    points = solids.centres[name] + middle @ turn.T + out
    away = np.linalg.norm(own.mean(axis=1)[:, :2] - middle[:2], axis=1)
    yaws = np.arctan2(out[:, 1], out[:, 0]) - np.pi / 2
    return points, yaws, np.full(len(angles), WALL), blocks[away > radius + 0.012]


def rim_of(corners: StateArray) -> tuple[StateArray, float, float]:
    """Middle (3,), radius and height (m) of the rim of a round vessel that stands upright, in its wall."""
    tops = corners[..., 2].max(axis=1)
    top = float(tops.max())
    rim = corners[tops > top - 0.008].reshape(-1, 3)
    rim = rim[rim[:, 2] > top - 0.015]
    low, high = rim[:, :2].min(axis=0), rim[:, :2].max(axis=0)
    return np.array([*((low + high) / 2), top]), float((high - low).mean() / 2) - 0.002, top
