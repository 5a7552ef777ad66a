"""Pushing: a round thing slid over the table between the tips of an open hand, as a plate to the stove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import OPEN
from wovr_core.envs.expert.subgoals import Clause
from wovr_core.envs.expert.wrist import UP, Wrist, leaning, move_and_turn, see_wrist, turn_between
from wovr_core.types import FloatArray, StateArray


@dataclass(frozen=True)
class PushConfig:
    """How things are pushed. Lengths in m, angles in rad."""

    radius: float = 0.076
    """Of the plate's edge."""
    low: float = 0.018
    """Height of the fingertips' middle above the region: they nearly touch the table."""
    lean: float = 0.5
    """How far the fingers point back, so that the palm is over the thing and not over what is behind."""
    start: float = 0.012
    """Room left between fingers and edge when the hand comes down behind it."""
    inside: float = 0.028
    """How near the region's middle it is pushed, in x and in y; LIBERO's regions reach 0.04."""
    above: float = 0.24
    """Height above the pushing height at which the hand gets in line; it clears drawers and their handles."""
    force: float = 0.02
    """How far ahead of itself the pushing hand aims: what it pushes may push other things in turn."""
    rise: float = 0.05
    """Height above the pushing height at which the hand is clear of it."""

    @property
    def touch(self) -> float:
        """Distance from the thing's middle to the hand when both fingertips touch the edge."""
        return float(np.sqrt(self.radius**2 - 0.046**2)) + 0.010


@dataclass(frozen=True)
class PushTo:
    """A round thing is pushed into a region of the table; done once it is there and the hand is off it."""

    clause: Clause
    thing: str
    region: str
    config: PushConfig = PushConfig()

    def done(self, env: Any) -> bool:
        return self._is_there(env) and self._is_clear(env)

    def act(self, env: Any) -> FloatArray:
        config, wrist = self.config, see_wrist(env)
        place = np.asarray(env.poses()[self.thing][:3], dtype=np.float64)
        if self._is_there(env):
            return move_and_turn(0.02 * UP, np.zeros(3), OPEN)
        region = np.asarray(env.site_position(self.region), dtype=np.float64)
        way = region - place
        way[2] = 0
        far = float(np.linalg.norm(way))
        ahead = side_of(way, wrist)
        posture = leaning(-ahead, config.lean, wrist.nearer(ahead))
        turn = turn_between(wrist.turn, posture)
        contact = place - config.touch * ahead
        contact[2] = region[2] + config.low
        error = contact - wrist.position
        gap = float(error @ ahead)
        side = error - gap * ahead
        side[2] = 0
        aside = float(np.linalg.norm(side))
        if _is_behind(gap, aside, float(error[2]), turn):
            height = np.array([0.0, 0.0, error[2]])
            return move_and_turn(side + height + config.force / far * way, turn, OPEN)
        waiting = error - config.start * ahead
        off = float(np.linalg.norm(waiting[:2])) + 0.1 * max(float(np.linalg.norm(turn)) - 0.2, 0)
        return move_and_turn(waiting + min(6 * max(off - 0.01, 0), config.above) * UP, turn, OPEN)

    def _is_there(self, env: Any) -> bool:
        off = np.abs(env.poses()[self.thing][:2] - env.site_position(self.region)[:2])
        return bool(off.max() < self.config.inside)

    def _is_clear(self, env: Any) -> bool:
        wrist, place = see_wrist(env), env.poses()[self.thing][:3]
        above = float(wrist.position[2] - place[2]) - self.config.low
        return above > self.config.rise or float(np.linalg.norm((wrist.position - place)[:2])) > 0.15


def _is_behind(gap: float, aside: float, above: float, turn: StateArray) -> bool:
    """Whether going ahead would push: the hand is down, in line and between its waiting place and the edge."""
    return -0.02 < gap < 0.04 and aside < 0.02 and above > -0.015 and float(np.linalg.norm(turn)) < 0.4


def side_of(way: StateArray, wrist: Wrist) -> StateArray:
    """(3,) unit vector from the hand to what it pushes.

    Half way between `way` and the nearest of the table's four directions: from there both fingertips keep
    hold of it, and the hand stays clear of fixtures, which stand square. A hand that stands at one side already
    stays there in doubt.
    """
    ahead = way / np.linalg.norm(way)
    sides = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    nearest = sides[int(np.argmax(sides @ ahead + 0.3 * np.abs(sides @ wrist.turn[:, 1])))]
    between = ahead + nearest
    return np.asarray(between / np.linalg.norm(between))
