"""Pick an object up and place it: the subgoal behind "in" and "on"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import see_hand
from wovr_core.envs.expert.places import place_of
from wovr_core.envs.expert.shapes import GripConfig, best_grip
from wovr_core.envs.expert.skills import Sight, SkillConfig, closed_upon, decide, is_clear
from wovr_core.envs.expert.solids import see_solids
from wovr_core.envs.expert.subgoals import Clause, Rule, Subgoal
from wovr_core.types import FloatArray


@dataclass(frozen=True)
class PickPlace:
    """Bring an object where a clause ("in" | "on", object, target) wants it."""

    clause: Clause
    skills: SkillConfig = field(default_factory=SkillConfig)
    grips: GripConfig = field(default_factory=GripConfig)

    def look(self, env: Any) -> Sight:
        """What matters of a LiberoEnv's present state.

        Raises:
            UnknownNameError: the scene lacks the object or its target.
        """
        name = self.clause[1]
        solids, hand = see_solids(env), see_hand(env)
        corners = solids.of(name).reshape(-1, 3)
        sight = Sight(
            hand=hand,
            origin=np.asarray(env.poses()[name][:3], dtype=np.float64),
            low=corners.min(axis=0),
            high=corners.max(axis=0),
            grip=best_grip(name, solids, hand, self.grips),
            held=env.held_object() == name,
            place=place_of(env, solids, self.clause),
            satisfied=env.holds(self.clause),
            obstacles=solids.but(name),
        )
        touched = name in env.touched_objects()
        return replace(sight, held=sight.held or (touched and closed_upon(sight)))

    def done(self, env: Any) -> bool:
        """Whether the object is in its place and out of the fingers."""
        return env.holds(self.clause) and is_clear(self.look(env))

    def act(self, env: Any) -> FloatArray:
        """(7,) approach, grasp, carry, release or retreat, whichever fits."""
        return decide(self.look(env), self.skills)


def pick_and_place(clause: Clause) -> tuple[Subgoal, ...]:
    """The subgoals of one clause."""
    return (PickPlace(clause),)


RULES = (Rule(("in", "*", "*"), pick_and_place), Rule(("on", "*", "*"), pick_and_place))
