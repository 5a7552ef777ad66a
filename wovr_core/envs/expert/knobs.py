"""Knobs: taken between the fingers and turned, as a stove's is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import CLOSE, OPEN
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.envs.expert.wrist import UP, Wrist, is_around, move_and_turn, reach_for, see_wrist, turn_between, upright
from wovr_core.envs.libero_parts import Part
from wovr_core.types import FloatArray, StateArray


@dataclass(frozen=True)
class KnobConfig:
    """How knobs are turned. Lengths in m, angles in rad."""

    on_at: float = 0.75
    """Joint position at which a stove counts as on: LIBERO asks 0.5, the stop is at 2.1."""
    off_at: float = -0.002
    """... and as off: LIBERO asks less than 0, the stop is at -0.005."""
    above: float = 0.012
    """The fingertips' middle is this far below the bar's top."""
    back: float = 0.08
    """Where the hand waits above the knob until it is in line, and goes back to."""
    clear: float = 0.05
    """Distance from the knob at which a hand is free for other things."""


@dataclass(frozen=True)
class Knob:
    """A knob with a bar across, at one instant."""

    top: StateArray
    """(3,) where its axis leaves the bar."""
    along: StateArray
    """(3,) unit vector along the bar, level."""
    thick: float
    """What the fingers close to."""
    value: float
    """The joint's position; grows against the clock, seen from above."""


def see_knob(part: Part) -> Knob:
    """The bar is the box that reaches highest."""
    tops = part.reach(UP)
    bar = int(np.argmax(tops))
    level = [i for i in range(3) if abs(part.turns[bar][2, i]) < 0.5]
    long, short = sorted(level, key=lambda i: -part.halves[bar, i])
    top = np.array([part.anchor[0], part.anchor[1], tops[bar]])
    return Knob(top, part.turns[bar][:, long], 2 * float(part.halves[bar, short]), part.value)


@dataclass(frozen=True)
class TurnKnob:
    """A knob is turned on or off; done once it is, and the hand is away from it."""

    clause: Clause
    fixture: str
    on: bool
    config: KnobConfig = KnobConfig()

    def done(self, env: Any) -> bool:
        wrist, knob = see_wrist(env), see_knob(env.part(self.fixture))
        return self._is_turned(knob) and self._is_clear(wrist, knob)

    def act(self, env: Any) -> FloatArray:
        config, wrist, knob = self.config, see_wrist(env), see_knob(env.part(self.fixture))
        posture = upright(wrist.nearer(knob.along))
        error = knob.top - config.above * UP - wrist.position
        if self._is_turned(knob):
            rise = 0.02 * UP if wrist.width > knob.thick + 0.01 else np.zeros(3)
            return move_and_turn(rise, np.zeros(3), OPEN)
        if is_around(wrist, error, posture):
            turn = turn_between(wrist.turn, posture)
            if wrist.width < knob.thick + 0.008:
                turn = turn + (0.4 if self.on else -0.4) * UP
            return move_and_turn(error, turn, CLOSE)
        return reach_for(wrist, error, posture, config.back)

    def _is_turned(self, knob: Knob) -> bool:
        return knob.value > self.config.on_at if self.on else knob.value < self.config.off_at

    def _is_clear(self, wrist: Wrist, knob: Knob) -> bool:
        off = np.abs(wrist.position - knob.top)
        return bool(off[2] > 0.02 or np.hypot(off[0], off[1]) > self.config.clear)
