"""From a task's goal to an action: rules turn clauses into subgoals, and the first that is not done acts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from wovr_core.envs.expert import fixtures, pick_place
from wovr_core.envs.expert.hand import OPEN, move, see_hand
from wovr_core.envs.expert.solids import see_solids
from wovr_core.envs.expert.subgoals import Clause, Rule, Subgoal
from wovr_core.errors import WovrError
from wovr_core.types import FloatArray

RULES: tuple[Rule, ...] = (*fixtures.RULES, *pick_place.RULES)
"""The first that matches a clause makes its subgoals: special ones stand before general ones."""
REST_ABOVE = 0.12
"""Height (m) above what is near that the hand retreats to once all is done."""


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


def can_compose(goal: tuple[Clause, ...]) -> bool:
    """Whether there is a rule for each of the clauses."""
    return all(any(rule.matches(clause) for rule in RULES) for clause in goal)


def active(env: Any, but: tuple[Subgoal, ...] = ()) -> Subgoal | None:
    """The first subgoal of a LiberoEnv's task that is not done now, those of `but` left out; None if all are.

    Raises:
        WovrError: the task's goal, or one of its objects, is beyond the demonstrator; says why.
    """
    return next((subgoal for subgoal in compose(env.goal) if subgoal not in but and not subgoal.done(env)), None)


def expert_action(env: Any) -> FloatArray:
    """(7,) what the demonstrator does in this LiberoEnv at this instant; a function of its state alone.

    Raises:
        WovrError: as `active`.
    """
    subgoal = active(env)
    return rest(env) if subgoal is None else subgoal.act(env)


def rest(env: Any) -> FloatArray:
    """Open hand straight up, until it is clear of what is near."""
    hand = see_hand(env)
    near = see_solids(env).blocks.near(hand.position[:2], 0.15)
    goal = float(near.high.max(initial=hand.position[2] - REST_ABOVE)) + REST_ABOVE
    return move(np.array([0, 0, max(goal - float(hand.position[2]), 0.0)]), OPEN)
