"""Pick an object up and place it: the subgoal behind "in" and "on"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wovr_core.envs.expert import skills
from wovr_core.envs.expert.subgoals import Clause, Rule, Subgoal
from wovr_core.types import FloatArray


@dataclass(frozen=True)
class PickPlace:
    """Bring an object where a clause ("in" | "on", object, target) wants it."""

    clause: Clause

    def done(self, env: Any) -> bool:
        return False

    def act(self, env: Any) -> FloatArray:
        return skills.expert_action(skills.look(env))


def pick_and_place(clause: Clause) -> tuple[Subgoal, ...]:
    """The subgoals of one clause."""
    return (PickPlace(clause),)


RULES = (Rule(("in", "*", "*"), pick_and_place), Rule(("on", "*", "*"), pick_and_place))
