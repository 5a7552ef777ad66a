"""Subgoals: what a clause of a task's goal asks of the demonstrator, and the rules that make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from wovr_core.types import FloatArray

Clause = tuple[str, ...]
"""A predicate and its arguments, such as ("on", "akita_black_bowl_1", "plate_1")."""


class Subgoal(Protocol):
    """One thing to bring about. Memoryless: both methods are functions of the environment's present state."""

    @property
    def clause(self) -> Clause:
        """What it works for."""
        ...

    def done(self, env: Any) -> bool:
        """Whether it is brought about, and the hand free to go on with something else."""
        ...

    def act(self, env: Any) -> FloatArray:
        """(7,) the action to take now, while it is not done."""
        ...


@dataclass(frozen=True)
class Rule:
    """Which subgoals, in which order, serve clauses of one form."""

    pattern: Clause
    """Shell patterns for the predicate and its arguments: ("on", "*", "plate_*")."""
    make: Callable[[Clause], tuple[Subgoal, ...]]
    rank: int = 1
    """Subgoals of a lower rank come first, of equal rank in the goal's own order: things are put in (1)
    before doors are closed (2), after stoves are turned on (0)."""

    def matches(self, clause: Clause) -> bool:
        """Whether it is for this clause."""
        return len(clause) == len(self.pattern) and all(map(fnmatchcase, clause, self.pattern))
