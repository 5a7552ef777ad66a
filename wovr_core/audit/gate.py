"""The audit as a gate of RL: a task's rollouts are shortened, or its RL stops, when imagination stops being true.

During RL a sample of the imagined successes is executed for real, now and then. Errors grow with depth, so the
first remedy is to imagine less far: to the depth up to which the false-success rate is within the bound. If it is
not within the bound at any depth, imagination teaches nothing but its own errors, and the task's RL stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wovr_core.errors import WovrError
from wovr_core.types import CHUNK


@dataclass(frozen=True)
class GateConfig:
    """When to look, and what is tolerated."""

    every: int = 0
    """Updates between audits; 0 turns the gate off."""
    sample: int = 8
    """Imagined successes per task and audit that are executed for real. They count as real episodes."""
    bound: float = 0.3
    """Largest tolerated false-success rate."""
    least: int = 5
    """Audited successes without which nothing is decided."""
    window: int = 24
    """The newest audited successes of a task that are looked at."""
    min_chunks: int = 3
    """Rollouts are not shortened below this many chunks: then RL stops."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.sample < 1 or self.least < 1 or self.window < self.least or self.min_chunks < 1:
            raise WovrError(
                "gate: every must be at least 0; sample, least and min_chunks at least 1; window at least `least`"
            )
        if not 0 <= self.bound < 1:
            raise WovrError(f"gate.bound must lie in [0, 1), got {self.bound}")

    def replays(self, updates: int, tasks: int) -> int:
        """At most so many real replays over `updates` updates of `tasks` tasks."""
        return (updates // self.every) * self.sample * tasks if self.every else 0


@dataclass(frozen=True)
class Verdict:
    """What to do with a task from now on."""

    action: Literal["go_on", "shorten", "stop"]
    chunks: int
    """Length of the rollouts that may train; 0 when stopped."""
    false: int
    audited: int


@dataclass(frozen=True)
class AuditedSuccess:
    """One imagined success that was executed for real."""

    depth: int
    """Imagined actions up to and including the success."""
    false: bool
    """Whether it failed for real."""


def decide(audited: Sequence[AuditedSuccess], chunks: int, config: GateConfig) -> Verdict:
    """Judge one task.

    Args:
        audited: oldest first; successes deeper than the present length are passed over.
        chunks: the present length of its rollouts; 0 if it has been stopped.
    """
    seen = [a for a in audited if a.depth <= chunks * CHUNK][-config.window :]
    false = sum(a.false for a in seen)
    if chunks == 0:
        return Verdict("stop", 0, false, len(seen))
    if len(seen) < config.least or false <= config.bound * len(seen):
        return Verdict("go_on", chunks, false, len(seen))
    for length in range(chunks - 1, config.min_chunks - 1, -1):
        kept = [a for a in seen if a.depth <= length * CHUNK]
        if len(kept) >= config.least and sum(a.false for a in kept) <= config.bound * len(kept):
            return Verdict("shorten", length, false, len(seen))
    return Verdict("stop", 0, false, len(seen))
