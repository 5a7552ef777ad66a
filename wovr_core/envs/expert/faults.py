"""Deliberate faults: a demonstrator that is deceived about one object, or opens its hand too early.

A fault bears on one pick-and-place of the task. It may remember, unlike the demonstrator: it is a story told
to it, not a skill.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from wovr_core.envs.expert.composition import active, compose, rest
from wovr_core.envs.expert.hand import CLOSE, OPEN
from wovr_core.envs.expert.pick_place import PickPlace
from wovr_core.envs.expert.skills import Sight, SkillConfig, decide, is_between_fingers
from wovr_core.errors import WovrError
from wovr_core.types import ACTION_DIM, FloatArray

FaultKind = Literal["none", "bad_grasp", "early_release", "bad_place"]
FAULTS: tuple[FaultKind, ...] = ("bad_grasp", "early_release", "bad_place")


@dataclass(frozen=True)
class FaultConfig:
    """How far the deceptions go, in m; each episode draws its own from the ranges."""

    grasp_offset: tuple[float, float] = (0.015, 0.05)
    """bad_grasp: sideways distance between where the object is and where it is believed."""
    release_at: tuple[float, float] = (0.1, 0.9)
    """early_release: share of the way to the target after which the fingers open."""
    place_offset: tuple[float, float] = (0.09, 0.16)
    """bad_place: sideways distance between the target and where it is believed."""
    recover: float = 0.25
    """Probability that the demonstrator sees truly once the fault has done its harm, and may mend it."""


def picks_of(env: Any) -> list[PickPlace]:
    """What a fault can bear on: the task's pick-and-places. A drawer or a knob has none."""
    return [subgoal for subgoal in compose(env.goal) if isinstance(subgoal, PickPlace)]


class Fault:
    """One deliberate fault of one episode.

    Raises:
        WovrError: the task has nothing to pick up, so there is nothing to be mistaken about.
    """

    CLOSING_STEPS = 7
    """A deceived demonstrator holds what it believes in after closing for so long, whatever the fingers say."""
    OPENING_STEPS = 6

    def __init__(self, kind: FaultKind, config: FaultConfig, env: Any, generator: np.random.Generator) -> None:
        self.kind = kind
        ranges = {"bad_grasp": config.grasp_offset, "bad_place": config.place_offset}
        angle = generator.uniform(0, 2 * np.pi)
        distance = generator.uniform(*ranges.get(kind, (0.0, 0.0)))
        self._offset = distance * np.array([np.cos(angle), np.sin(angle), 0])
        self._release_at = float(generator.uniform(*config.release_at))
        self.recovers = bool(generator.random() < config.recover)
        picks = picks_of(env)
        chosen = int(generator.integers(max(len(picks), 1)))
        if kind != "none" and not picks:
            raise WovrError(f"no fault {kind!r} in {env.task}: nothing is picked up there; collect it without faults")
        self._victim = picks[chosen] if picks else None
        self._skills = self._victim.skills if self._victim else SkillConfig()
        self._closing = 0
        self._opening = 0
        self._way: float | None = None
        self._stood: float | None = None
        self._in_hand = False
        self._last_height = np.inf
        self.sees = kind == "none"
        """The demonstrator is not deceived, or no longer."""
        self.finished = False
        """The deceived demonstrator thinks that its part is done."""

    def act(self, env: Any) -> FloatArray:
        """(7,) what the deceived demonstrator does at this instant."""
        skipped = (self._victim,) if self.finished and self._victim else ()
        subgoal = active(env, skipped)
        if subgoal is None:
            return rest(env)
        if self.sees or not isinstance(subgoal, PickPlace) or subgoal != self._victim:
            return subgoal.act(env)
        sight = subgoal.look(env)
        if self.kind == "bad_place":
            return self._bad_place(env, sight)
        if self.kind == "early_release":
            return self._early_release(env, sight)
        return self._bad_grasp(env, sight)

    def _decide(self, sight: Sight) -> FloatArray:
        return decide(sight, self._skills)

    def _bad_place(self, env: Any, sight: Sight) -> FloatArray:
        if self._in_hand and sight.hand.is_open and not is_between_fingers(sight):
            return self._aftermath(env, sight)
        self._in_hand |= sight.held
        believed = replace(sight.with_place_moved(self._offset[:2]), satisfied=False)
        over = float(np.linalg.norm(believed.place.xy - sight.origin[:2])) < self._skills.over
        # what is lowered on to a wall comes no further down: then it is let go where it is
        if self._opening == 0 and not (sight.held and over and self._stands_still(sight)):
            return self._decide(believed)
        return self._open(env, believed)

    def _open(self, env: Any, sight: Sight) -> FloatArray:
        """Open the hand for some steps, whatever the demonstrator wants it for."""
        self._opening += 1
        if self._opening > self.OPENING_STEPS:
            return self._aftermath(env, sight)
        dropped = self._decide(sight)
        dropped[6] = OPEN
        return dropped

    def _stands_still(self, sight: Sight) -> bool:
        """Whether the hand's height is what it was at the last step."""
        height = float(sight.hand.position[2])
        still = abs(height - self._last_height) < 0.0015
        self._last_height = height
        return still

    def _early_release(self, env: Any, sight: Sight) -> FloatArray:
        self._stood = float(sight.low[2]) if self._stood is None else self._stood
        if sight.held and float(sight.low[2]) > self._stood + 0.02 and self._opening == 0:
            left = float(np.linalg.norm(sight.place.xy - sight.origin[:2]))
            self._way = left if self._way is None else self._way
            self._opening = int(1 - left / max(self._way, 1e-6) >= self._release_at)
        return self._decide(sight) if self._opening == 0 else self._open(env, sight)

    def _bad_grasp(self, env: Any, sight: Sight) -> FloatArray:
        if self._in_hand:
            return self._aftermath(env, sight)
        believed = replace(sight.with_object_at(sight.origin + self._offset), held=False, satisfied=False)
        # a misplaced hand may come to stand on the object: then it closes where it is
        low = float(sight.hand.position[2]) < float(sight.high[2]) + 0.025
        stuck = self._stands_still(sight) and low
        if self._closing == 0 and not is_between_fingers(believed) and not stuck:
            return self._decide(believed)
        self._closing += 1
        self._in_hand = self._closing > self.CLOSING_STEPS
        action = np.zeros(ACTION_DIM, dtype=np.float32)
        action[6] = CLOSE
        return action

    def _aftermath(self, env: Any, sight: Sight) -> FloatArray:
        """Go on as if the object were in the hand until it would be placed; or see truly, and recover."""
        if self.recovers:
            self.sees = True
            return self.act(env)
        if self.kind == "bad_grasp" and not sight.hand.is_open:
            below = sight.origin - sight.grip.point  # the origin of what it believes to hold
            return self._decide(replace(sight.with_object_at(sight.hand.position + below), held=True, satisfied=False))
        self.finished = True
        return self.act(env)
