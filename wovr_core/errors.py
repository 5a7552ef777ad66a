"""Errors that a user can act on. The command line prints them as one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WovrError(Exception):
    """Something the user can mend. The message says what was wrong, where, and what would be right."""


class UnknownNameError(WovrError):
    """A name that is not among the known ones (recipe, suite, task, config key, stage)."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        self._parts = (kind, name, choices)
        guesses = [] if name.isdigit() else difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
        known_ones = "known: " + ", ".join(choices) if choices else "there is none yet"
        hint = f"did you mean {guesses[0]!r}?" if guesses else known_ones
        super().__init__(f"unknown {kind} {name!r}; {hint}")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        """It crosses from workers to their parent whole; Exception would hand its message alone to __init__."""
        return type(self), self._parts


class CorruptFileError(WovrError):
    """A file of ours that cannot be read as what it should be."""


class CheckpointMismatchError(WovrError):
    """A checkpoint that was made by another recipe or another version than the one that would load it."""


class RunFolderError(WovrError):
    """A run folder that this version, or this recipe, must not write into."""


class NotReplayableError(WovrError):
    """A rollout or keyframe without a simulator's state: it can be imagined, but not executed beside it."""


class MissingDependencyError(WovrError):
    """A system library or an extra that is not installed; the message names the package that brings it."""


class Interrupted(WovrError):
    """Ctrl-C reached a stage; it has checkpointed. Carries the way to go on. Exit code 130."""
