"""Drawers: pull open by the handle, push shut. What is done next follows from hand, handle and opening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import CLOSE, OPEN
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.envs.expert.wrist import (
    UP,
    Wrist,
    is_around,
    leaning,
    move_and_turn,
    reach_for,
    see_wrist,
    turn_between,
    upright,
)
from wovr_core.envs.libero_parts import Part
from wovr_core.types import FloatArray, StateArray

FINGER_BEYOND = 0.013
"""The fingertips of a hand that leans to push end this far (m) beyond the point between them."""


@dataclass(frozen=True)
class DrawerConfig:
    """How drawers are handled. Lengths in m, angles in rad."""

    open_at: float = -0.15
    """Joint position at which a drawer counts as open: LIBERO asks -0.14, the end stop is at -0.16."""
    wide_at: float = -0.135
    """... to which it is pulled if it is opened only to put something in: what stands before it stays in reach."""
    room_at: float = -0.115
    """... and at which it still is wide enough for that."""
    pull_lean: float = 1.3
    """How far the hand leans to reach a handle under another handle."""
    depth: float = 0.004
    """How far the fingertips' middle goes past the middle of the bar."""
    back: float = 0.10
    """Where the hand waits in front of the handle until it points right, and goes back to."""
    upright: float = 0.10
    """A hand that leans less than this is free for other things."""
    shut_at: float = 0.0008
    """Joint position at which a drawer counts as shut: LIBERO asks more than 0, and it meets the cabinet at 0.0017."""
    push_lean: float = 0.5
    """How far the hand, turned flat to the drawer, leans to push a handle under another handle."""
    before: float = 0.035
    """Where the fingertips wait in front of the bar before they push."""
    over: float = 0.11
    """Height above the bar at which the hand, leaning, clears an open drawer's front."""


@dataclass(frozen=True)
class Handle:
    """The bar of a drawer, at one instant."""

    centre: StateArray
    """(3,) of the bar."""
    thick: float
    """What the fingers close to."""
    out: StateArray
    """(3,) unit vector, level: where the drawer moves when it opens."""
    front: float
    """Distance from the bar's middle to its front."""
    value: float
    """The joint's position: 0 shut, negative open."""


def see_handle(part: Part) -> Handle:
    """The bar is what reaches farthest out."""
    out = -part.axis
    bar = int(np.argmax(part.centres @ out))
    tall = float(np.abs(part.turns[bar].T @ UP) @ part.halves[bar])
    front = float(np.abs(part.turns[bar].T @ out) @ part.halves[bar])
    return Handle(part.centres[bar], 2 * tall, out, front, part.value)


@dataclass(frozen=True)
class PullDrawer:
    """A drawer is opened by its handle; done once it is open and the hand stands upright again."""

    clause: Clause
    region: str
    unless: Clause | None = None
    """What the drawer is opened for: once this holds, it need not be open any more."""
    config: DrawerConfig = DrawerConfig()

    def done(self, env: Any) -> bool:
        wrist, handle = see_wrist(env), see_handle(env.part(self.region))
        if self.unless is not None:
            wide_enough = handle.value < self.config.room_at and wrist.lean < 2 * self.config.upright
            if wide_enough or env.holds(self.unless):
                return True
        return handle.value < self._goal and wrist.lean < self.config.upright

    def act(self, env: Any) -> FloatArray:
        config, wrist, handle = self.config, see_wrist(env), see_handle(env.part(self.region))
        posture = leaning(-handle.out, config.pull_lean)
        error = handle.centre + config.depth * posture[:, 2] - wrist.position
        if handle.value < self._goal:
            return leave(wrist, error, -posture[:, 2], config)
        if is_around(wrist, error, posture):
            if wrist.width < handle.thick + 0.006:
                slip = error - (error @ handle.out) * handle.out
                return move_and_turn(0.02 * handle.out + slip, turn_between(wrist.turn, posture), CLOSE)
            return move_and_turn(error, turn_between(wrist.turn, posture), CLOSE)
        return reach_for(wrist, error, posture, config.back)

    @property
    def _goal(self) -> float:
        return self.config.open_at if self.unless is None else self.config.wide_at


@dataclass(frozen=True)
class ShutDrawer:
    """A drawer is pushed shut by its handle; done once it is shut and the hand stands upright again."""

    clause: Clause
    region: str
    config: DrawerConfig = DrawerConfig()

    def done(self, env: Any) -> bool:
        wrist, handle = see_wrist(env), see_handle(env.part(self.region))
        return handle.value > self.config.shut_at and wrist.lean < self.config.upright

    def act(self, env: Any) -> FloatArray:
        config, wrist, handle = self.config, see_wrist(env), see_handle(env.part(self.region))
        posture = leaning(-handle.out, config.push_lean, wrist.nearer(handle.out))
        turn = turn_between(wrist.turn, posture)
        error = handle.centre + (handle.front + FINGER_BEYOND) * handle.out - wrist.position
        if handle.value > config.shut_at:
            return leave(wrist, error, handle.out, config)
        gap = -float(error @ handle.out)  # how far in front of the bar the fingertips are
        off = error + gap * handle.out
        in_line = abs(off[2]) < 0.012 and np.linalg.norm(off[:2]) < 0.025 and np.linalg.norm(turn) < 0.3
        if in_line and -0.015 < gap < config.before + 0.02:
            return move_and_turn(off - 0.02 * handle.out, turn, CLOSE)
        short = max(config.before - 0.015 - gap, 0.0) + 0.1 * max(float(np.linalg.norm(turn)) - 0.25, 0.0)
        rise = min(6 * short, config.over)
        return move_and_turn(error + config.before * handle.out + rise * UP, turn, CLOSE)


def leave(wrist: Wrist, error: StateArray, back: StateArray, config: DrawerConfig) -> FloatArray:
    """Open hand out of the handle's reach along (3,) `back`, a unit vector, then upright."""
    away = -float(error @ back)
    if np.linalg.norm(error + away * back) < 0.06 and away < 0.06:
        return move_and_turn(0.02 * back if wrist.width > 0.03 else np.zeros(3), np.zeros(3), OPEN)
    level = np.array([*wrist.turn[:2, 1], 0.0])
    return move_and_turn(0.01 * UP, turn_between(wrist.turn, upright(level / np.linalg.norm(level))), OPEN)
