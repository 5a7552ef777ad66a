"""From goals to subgoals: every task of four suites but the named ones, in an order that can work."""

from __future__ import annotations

import pytest

from wovr_core.envs.expert.composition import RULES, compose
from wovr_core.envs.expert.drawers import PullDrawer, ShutDrawer
from wovr_core.envs.expert.knobs import TurnKnob
from wovr_core.envs.expert.pick_place import PickPlace
from wovr_core.envs.expert.stowing import MakeRoom, PutInDrawer
from wovr_core.errors import WovrError


def goal_of(suite: str, task: int) -> tuple[tuple[str, ...], ...]:
    """A task's goal, read from its definition alone: nothing is simulated."""
    from libero.libero.envs.bddl_utils import robosuite_parse_problem

    from wovr_core.envs import libero_suites

    benchmark = libero_suites._benchmark(suite)
    goal = robosuite_parse_problem(benchmark.get_task_bddl_file_path(task))["goal_state"]
    return tuple(tuple(clause) for clause in goal)


BEYOND = {("libero_10", 9)}
"""Tasks without a demonstrator: a microwave's door."""


@pytest.mark.parametrize("suite", ["libero_spatial", "libero_object", "libero_goal", "libero_10"])
def test_every_task_but_the_named_ones_has_subgoals_for_each_clause(suite: str) -> None:
    for task in range(10):
        goal = goal_of(suite, task)
        if (suite, task) in BEYOND:
            with pytest.raises(WovrError, match=r"cannot do .*no rule"):
                compose(goal)
            continue
        subgoals = compose(goal)
        assert {subgoal.clause for subgoal in subgoals} >= set(goal)
        assert compose(tuple(goal)) == subgoals
        assert len(set(subgoals)) == len(subgoals)


def test_stoves_are_lit_before_pots_stand_there_and_drawers_shut_after() -> None:
    pot, lit = ("on", "moka_pot_1", "flat_stove_1_cook_region"), ("turnon", "flat_stove_1")
    stove = compose((pot, lit))
    assert [subgoal.clause for subgoal in stove] == [lit, pot]
    assert isinstance(stove[0], TurnKnob)
    assert stove[0].on
    shut, put = ("close", "white_cabinet_1_bottom_region"), ("in", "bowl_1", "white_cabinet_1_bottom_region")
    drawer = compose((shut, put))
    assert [type(subgoal) for subgoal in drawer] == [MakeRoom, PullDrawer, PutInDrawer, ShutDrawer]
    assert [subgoal.clause for subgoal in drawer] == [put, put, put, shut]


def test_what_is_put_in_keeps_the_goals_order() -> None:
    goal = tuple(("in", name, "basket_1_contain_region") for name in ("b_1", "a_1", "c_1"))
    subgoals = compose(goal)
    assert all(isinstance(subgoal, PickPlace) for subgoal in subgoals)
    assert tuple(subgoal.clause for subgoal in subgoals) == goal


def test_unknown_predicates_are_refused_by_name() -> None:
    with pytest.raises(WovrError, match="'levitate milk_1'"):
        compose((("levitate", "milk_1"),))


def test_special_rules_stand_before_general_ones() -> None:
    """No rule is hidden by an earlier, more general one: each is the first for some clause."""
    for index, rule in enumerate(RULES):
        example = tuple(part.replace("*", "x") for part in rule.pattern)
        first = next(i for i, other in enumerate(RULES) if other.matches(example))
        assert first == index, rule.pattern
