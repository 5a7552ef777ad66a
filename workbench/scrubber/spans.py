"""Annotation spans: an opinion about a stretch of frames, and the checks on what a browser sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wovr_core.errors import WovrError


@dataclass(frozen=True)
class Label:
    """One kind of hallucination. `key` is stored, `title` is read, `guide` tells an annotator when to use it."""

    key: str
    title: str
    guide: str


LABELS: tuple[Label, ...] = (
    Label("object_vanishes", "object vanishes", "An object that should be visible fades or is gone."),
    Label("object_duplicates", "object duplicates", "One object appears twice."),
    Label("object_deforms", "object deforms", "An object melts, changes its shape, size or colour."),
    Label("teleports", "teleports", "An object or the arm is elsewhere from one frame to the next."),
    Label("grasp_without_contact", "grasp without contact", "An object follows a gripper that does not hold it."),
    Label("robot_drifts", "robot drifts from the action", "The arm does not move as the actions command."),
    Label("background_collapses", "background collapses", "Table, walls or fixtures dissolve or shift."),
    Label("false_success", "false success", "The task looks done in imagination; really it would not be."),
    Label("missed_success", "missed success", "The task would really be done; imagination shows it failing."),
    Label("other", "other", "Something else is wrong; say what in the note."),
)
LABEL_KEYS = frozenset(label.key for label in LABELS)
SEVERITIES = (1, 2, 3)
MAX_NOTE = 2000
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class SpanError(WovrError):
    """A span or an edit that cannot be accepted as it is."""


@dataclass(frozen=True)
class Span:
    """A labelled stretch of one rollout's frames."""

    id: str
    start: int
    """First frame."""
    end: int
    """Last frame, inclusive."""
    label: str
    severity: int
    """1 slight, 2 clear, 3 severe."""
    note: str
    author: str
    """Set by Python from who is logged in, never taken from a browser."""
    time: str
    """UTC, ISO 8601, of the latest edit."""
    version: int
    """How many edits this span has seen."""

    def to_json(self) -> dict[str, Any]:
        """As the module and the log want it; plain JSON types only."""
        return {
            "id": self.id, "start": self.start, "end": self.end, "label": self.label, "severity": self.severity,
            "note": self.note, "author": self.author, "time": self.time, "version": self.version,
        }  # fmt: skip


def checked_id(value: object, what: str) -> str:
    """`value` as an identifier that we hand out and accept: letters, digits, `_`, `-`, at most 64."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise SpanError(f"{what} must be 1-64 letters, digits, '_' or '-', not {_short(value)}")
    return value


def checked_author(value: str) -> str:
    """`value` as somebody's name: at most 200 characters, none of them a control character."""
    if len(value) > 200 or _FORBIDDEN.search(value):
        raise SpanError(f"an author must be a name of at most 200 characters, not {_short(value)}")
    return value


def parse_span(value: object, *, frames: int | None, author: str, time: str, version: int) -> Span:
    """A span out of what a browser sent (or a log holds).

    Args:
        value: should be {id, start, end, label, severity, note}; other keys are ignored.
        frames: N of the rollout, to bound start and end; None leaves them unbounded above.

    Raises:
        SpanError: says which field is wrong and what would be right.
    """
    if not isinstance(value, Mapping):
        raise SpanError(f"a span must be an object, not {_short(value)}")
    start, end = _whole(value, "start"), _whole(value, "end")
    if start < 0 or end < start or (frames is not None and end >= frames):
        bound = "" if frames is None else f" < {frames}"
        raise SpanError(f"a span needs 0 <= start <= end{bound}, not {start}..{end}")
    label = value.get("label")
    if not isinstance(label, str) or label not in LABEL_KEYS:
        raise SpanError(f"unknown label {_short(label)}; known: {', '.join(item.key for item in LABELS)}")
    severity = _whole(value, "severity")
    if severity not in SEVERITIES:
        raise SpanError(f"severity must be 1, 2 or 3, not {severity}")
    return Span(
        checked_id(value.get("id"), "a span's id"), start, end, label, severity,
        _note(value.get("note", "")), author, time, version,
    )  # fmt: skip


def _note(value: object) -> str:
    if not isinstance(value, str):
        raise SpanError(f"a note must be text, not {_short(value)}")
    if len(value) > MAX_NOTE:
        raise SpanError(f"a note may have {MAX_NOTE} characters, this one has {len(value)}")
    if _FORBIDDEN.search(value):
        raise SpanError("a note may not hold control characters")
    return value


def _whole(value: Mapping[str, Any], name: str) -> int:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int):
        raise SpanError(f"a span's {name} must be a whole number, not {_short(number)}")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
