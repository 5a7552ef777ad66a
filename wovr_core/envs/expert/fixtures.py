"""Rules for fixtures: which subgoals serve the clauses about drawers, doors, knobs and pushing."""

from __future__ import annotations

from wovr_core.envs.expert.drawers import PullDrawer
from wovr_core.envs.expert.knobs import TurnKnob
from wovr_core.envs.expert.pushing import PushTo
from wovr_core.envs.expert.subgoals import Rule

RULES: tuple[Rule, ...] = (
    Rule(("on", "plate_*", "*_front_region"), lambda clause: (PushTo(clause, clause[1], clause[2]),)),
    Rule(("open", "*_cabinet_*_region"), lambda clause: (PullDrawer(clause, clause[1]),), rank=0),
    Rule(("turnon", "*"), lambda clause: (TurnKnob(clause, clause[1], on=True),), rank=0),
    Rule(("turnoff", "*"), lambda clause: (TurnKnob(clause, clause[1], on=False),), rank=2),
)
