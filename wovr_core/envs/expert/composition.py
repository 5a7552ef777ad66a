"""From a task's goal to an action: rules turn clauses into subgoals, and the first that is not done acts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from wovr_core.envs.expert import fixtures, pick_place
from wovr_core.envs.expert.hand import OPEN, move
from wovr_core.envs.expert.subgoals import Clause, Rule, Subgoal
from wovr_core.errors import WovrError
from wovr_core.types import FloatArray

RULES: tuple[Rule, ...] = (*fixtures.RULES, *pick_place.RULES)
"""The first that matches a clause makes its subgoals: special ones stand before general ones."""
REST_ABOVE = 0.10
"""Height (m) above where it was done that the hand retreats to; see `rest`."""


@lru_cache(maxsize=512)
def compose(goal: tuple[Clause, ...]) -> tuple[Subgoal, ...]:
    """The ordered subgoals of a goal; a pure function of its clauses.

    Raises:
        WovrError: no rule for one of the clauses; names it.
    """
    made = []
    for clause in goal:
        rule = next((rule for rule in RULES if rule.matches(clause)), None)
        if rule is None:
            raise WovrError(f"the scripted expert cannot do {' '.join(clause)!r}: it has no rule for that")
        made.append((rule.rank, rule.make(clause)))
    return tuple(subgoal for _, subgoals in sorted(made, key=lambda m: m[0]) for subgoal in subgoals)


def expert_action(env: Any) -> FloatArray:
    """(7,) what the demonstrator does in this LiberoEnv at this instant; a function of its state alone.

    Raises:
        WovrError: the task's goal, or one of its objects, is beyond the demonstrator; says why.
    """
    for subgoal in compose(env.goal):
        if not subgoal.done(env):
            return subgoal.act(env)
    return rest(env)


def rest(env: Any) -> FloatArray:
    """Open hand straight up: all is done."""
    return move(np.array([0, 0, 1], dtype=np.float32), OPEN)
