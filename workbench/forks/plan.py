"""What a fork is to be, as a browser may ask for it: checked here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import ACTION_DIM, CHUNK, FloatArray, Rollout

MAX_CHUNKS = 16
"""Imagined by one fork, the changed chunk included."""
MAX_LENGTH = 40
"""Chunks of a whole fork, those before the change included."""
SOURCES = ("edit", "policy")
AFTERWARDS = ("policy", "original", "still")
_STILL: FloatArray = np.zeros(ACTION_DIM, np.float32)


class PlanError(WovrError):
    """A fork that cannot be made as it was asked for."""


@dataclass(frozen=True)
class Plan:
    """One fork. The first `chunk` chunks stay as they were."""

    chunk: int
    chunks: int
    """Imagined anew, the changed one included."""
    source: Literal["edit", "policy"]
    """Where the changed chunk's actions come from."""
    afterwards: Literal["policy", "original", "still"]
    """Who decides after it: the policy, on what is then imagined; the actions as they were; nobody (no motion, the
    gripper as it is)."""
    actions: FloatArray | None = None
    """(C, A), of an edit."""
    temperature: float = 1.0
    seed: int = 0
    """Of the policy's samples."""

    @property
    def needs_policy(self) -> bool:
        """Whether a policy has to be loaded."""
        return self.source == "policy" or (self.afterwards == "policy" and self.chunks > 1)


def chunk_at(frame: int) -> int:
    """The next chunk to be decided at a frame: on a boundary the one that begins there, else the one after."""
    return -(-frame // CHUNK)


def parse_plan(message: Mapping[str, Any], rollout: Rollout) -> Plan:
    """Raises PlanError, or UnknownNameError, naming the field."""
    last = len(rollout.actions) // CHUNK
    chunk = chunk_at(_whole(message, "frame", 0, len(rollout.actions)))
    chunks = _whole(message, "chunks", 1, MAX_CHUNKS, default=max(1, min(MAX_CHUNKS, last - chunk)))
    if chunk + chunks > MAX_LENGTH:
        raise PlanError(
            f"a fork may have {MAX_LENGTH} chunks in all; from chunk {chunk} on {MAX_LENGTH - chunk} are left"
        )
    source = _choice(message, "source", SOURCES)
    afterwards = _choice(message, "afterwards", AFTERWARDS)
    if afterwards == "original" and chunk + chunks > last:
        raise PlanError(
            f"the original has {last} chunks: from chunk {chunk} on its actions last for {max(0, last - chunk)}, "
            f"not {chunks}; imagine fewer, or let the policy go on"
        )
    return Plan(
        chunk=chunk,
        chunks=chunks,
        source=source,  # type: ignore[arg-type]
        afterwards=afterwards,  # type: ignore[arg-type]
        actions=_actions(message.get("actions")) if source == "edit" else None,
        temperature=_number(message, "temperature", 0.0, 4.0, default=1.0),
        seed=_whole(message, "seed", 0, 2**31 - 1, default=0),
    )


def _whole(message: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    value = message.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PlanError(f"{key} must be a whole number from {low} to {high}, not {str(value)[:40]}")
    return value


def _number(message: Mapping[str, Any], key: str, low: float, high: float, default: float) -> float:
    value = message.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise PlanError(f"{key} must be a number from {low:g} to {high:g}, not {str(value)[:40]}")
    return float(value)


def _choice(message: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = message.get(key, known[0])
    if not isinstance(value, str) or value not in known:
        raise UnknownNameError(key, str(value)[:40], known)
    return value


def _actions(value: object) -> FloatArray:
    fits = isinstance(value, list) and len(value) == CHUNK
    fits = fits and all(isinstance(row, list) and len(row) == ACTION_DIM for row in value)  # type: ignore[attr-defined]
    if not fits:
        raise PlanError(f"actions must be {CHUNK} rows of {ACTION_DIM} numbers")
    for row in value:  # type: ignore[attr-defined]
        for number in row:
            plain = isinstance(number, int | float) and not isinstance(number, bool)
            if not plain or not math.isfinite(number) or not -1 <= number <= 1:
                raise PlanError(f"an action's numbers lie from -1 to 1, not {str(number)[:40]}")
    return np.array(value, dtype=np.float32)


def hold(gripper: float, chunk: int = CHUNK) -> FloatArray:
    """(C, A) that move nothing and leave the gripper."""
    actions = np.repeat(_STILL[None], chunk, axis=0)
    actions[:, 6] = gripper
    return actions
