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


@dataclass(frozen=True)
class DrawerConfig:
    """How drawers are handled. Lengths in m, angles in rad."""

    open_at: float = -0.15
    """Joint position at which a drawer counts as open: LIBERO asks -0.14, the end stop is at -0.16."""
    pull_lean: float = 1.3
    """How far the hand leans to reach a handle under another handle."""
    depth: float = 0.004
    """How far the fingertips' middle goes past the middle of the bar."""
    back: float = 0.10
    """Where the hand waits in front of the handle until it points right, and goes back to."""
    upright: float = 0.10
    """A hand that leans less than this is free for other things."""


@dataclass(frozen=True)
class Handle:
    """The bar of a drawer, at one instant."""

    centre: StateArray
    """(3,) of the bar."""
    thick: float
    """What the fingers close to."""
    out: StateArray
    """(3,) unit vector, level: where the drawer moves when it opens."""
    value: float
    """The joint's position: 0 shut, negative open."""


def see_handle(part: Part) -> Handle:
    """The bar is what reaches farthest out."""
    out = -part.axis
    bar = int(np.argmax(part.centres @ out))
    tall = float(np.abs(part.turns[bar].T @ UP) @ part.halves[bar])
    return Handle(part.centres[bar], 2 * tall, out, part.value)


@dataclass(frozen=True)
class PullDrawer:
    """A drawer is opened by its handle; done once it is open and the hand stands upright again."""

    clause: Clause
    region: str
    config: DrawerConfig = DrawerConfig()

    def done(self, env: Any) -> bool:
        wrist, handle = see_wrist(env), see_handle(env.part(self.region))
        return handle.value < self.config.open_at and wrist.lean < self.config.upright

    def act(self, env: Any) -> FloatArray:
        config, wrist, handle = self.config, see_wrist(env), see_handle(env.part(self.region))
        posture = leaning(-handle.out, config.pull_lean)
        error = handle.centre + config.depth * posture[:, 2] - wrist.position
        if handle.value < config.open_at:
            return leave(wrist, error, posture, config)
        if is_around(wrist, error, posture):
            if wrist.width < handle.thick + 0.006:
                slip = error - (error @ handle.out) * handle.out
                return move_and_turn(0.02 * handle.out + slip, turn_between(wrist.turn, posture), CLOSE)
            return move_and_turn(error, turn_between(wrist.turn, posture), CLOSE)
        return reach_for(wrist, error, posture, config.back)


def leave(wrist: Wrist, error: StateArray, posture: StateArray, config: DrawerConfig) -> FloatArray:
    """Open hand back out of the handle's reach, then upright."""
    forward = posture[:, 2]
    ahead = float(error @ forward)
    if wrist.lean > config.upright and np.linalg.norm(error - ahead * forward) < 0.06 and ahead < 0.06:
        return move_and_turn(-0.02 * forward if wrist.width > 0.03 else np.zeros(3), np.zeros(3), OPEN)
    return move_and_turn(0.01 * UP, turn_between(wrist.turn, upright(posture[:, 1])), OPEN)
