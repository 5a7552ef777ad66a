"""Rules for fixtures: which subgoals serve the clauses about drawers, doors, knobs and pushing."""

from __future__ import annotations

from wovr_core.envs.expert.drawers import PullDrawer, ShutDrawer
from wovr_core.envs.expert.knobs import TurnKnob
from wovr_core.envs.expert.pushing import PushTo
from wovr_core.envs.expert.stowing import MakeRoom, PutInDrawer
from wovr_core.envs.expert.subgoals import Clause, Rule, Subgoal

DRAWER = "w*_cabinet_*_region"
"""Regions of LIBERO's white and wooden cabinets, whose drawers open towards negative joint positions."""


def put_in_drawer(clause: Clause) -> tuple[Subgoal, ...]:
    """("in", object, drawer's region): what stands before the drawer is moved off, then it is opened, unless the
    object is in it already."""
    return (MakeRoom(clause), PullDrawer(clause, clause[2], unless=clause), PutInDrawer(clause))


RULES: tuple[Rule, ...] = (
    Rule(("turnon", "*"), lambda clause: (TurnKnob(clause, clause[1], on=True),), rank=0),
    Rule(("open", DRAWER), lambda clause: (PullDrawer(clause, clause[1]),), rank=0),
    Rule(("on", "plate_*", "*_front_region"), lambda clause: (PushTo(clause, clause[1], clause[2]),)),
    Rule(("in", "*", DRAWER), put_in_drawer),
    Rule(("close", DRAWER), lambda clause: (ShutDrawer(clause, clause[1]),), rank=2),
    Rule(("turnoff", "*"), lambda clause: (TurnKnob(clause, clause[1], on=False),), rank=2),
)
"""Special rules that stand before those of picking and placing."""
