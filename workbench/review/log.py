"""The review log beside a run: JSON Lines, append-only, on the disk before anybody is told that it is done.

As with annotations the log is the truth and the store's rows follow it, so that `wovr store rebuild --fresh` loses no
review. A line is {"event", "op", "rollout", "author", "time", ...}: see OPS.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.scrubber.spans import Span, SpanError, checked_author, parse_span
from wovr_core.errors import WovrError
from wovr_core.files import explain_disk_errors, fsync_directory

log = logging.getLogger("wovr.review")

LOG_NAME = "reviews.jsonl"
OPS = {
    "submit": "an annotator is done with an item: spans, seconds",
    "skip": "an annotator passes an item on: why",
    "adjudicate": "a third person decides between annotators: spans, why",
    "gold": "the answer of this item is known: spans, judged labels, why",
    "retire": "the item is gold no longer: why",
}
MAX_WHY = 2000


class ReviewError(WovrError):
    """Something that the review queue does not allow."""


@dataclass(frozen=True)
class ReviewLine:
    """One event of a review log."""

    id: str
    op: str
    rollout: str
    """The record's annotation key."""
    author: str
    time: float
    """Seconds since 1970."""
    spans: tuple[Span, ...] = ()
    seconds: float = 0.0
    """From claim to submission."""
    why: str = ""
    judged: tuple[str, ...] | None = None
    """Labels on which gold judges; None: all."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the log."""
        body: dict[str, Any] = {
            "event": self.id, "op": self.op, "rollout": self.rollout, "author": self.author, "time": self.time,
        }  # fmt: skip
        if self.op in ("submit", "adjudicate", "gold"):
            body["spans"] = [span.to_json() for span in self.spans]
        if self.op == "submit":
            body["seconds"] = round(self.seconds, 1)
        else:
            body["why"] = self.why
        if self.op == "gold":
            body["judged"] = None if self.judged is None else list(self.judged)
        return body


def new_line(op: str, rollout: str, author: str, time: float, **more: Any) -> ReviewLine:
    """A line with an id of its own, checked. Raises ReviewError or SpanError."""
    line = ReviewLine(uuid.uuid4().hex, op, rollout, checked_author(author), time, **more)
    if not author:
        raise ReviewError("a review needs an author")
    return read_line(line.to_json())


def read_line(value: object) -> ReviewLine:
    """A line out of JSON. Raises ReviewError or SpanError when it is none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("op"), str) or value["op"] not in OPS:
        raise ReviewError(f"a review must be an object whose op is one of {', '.join(OPS)}")
    texts = [value.get(name) for name in ("event", "op", "rollout", "author")]
    time, why, seconds = value.get("time"), value.get("why", ""), value.get("seconds", 0.0)
    judged, spans = value.get("judged"), value.get("spans", [])
    if not all(isinstance(text, str) and text for text in texts) or not isinstance(time, int | float):
        raise ReviewError("a review needs event, rollout, author and time")
    if not isinstance(seconds, int | float):
        raise ReviewError(f"seconds must be a number, not {seconds!r}")
    if not isinstance(why, str) or len(why) > MAX_WHY:
        raise ReviewError(f"why must be a text of at most {MAX_WHY} characters")
    if not isinstance(spans, list) or not (judged is None or isinstance(judged, list)):
        raise ReviewError("spans and judged must be lists")
    event, op, rollout, author = (str(text) for text in texts)
    return ReviewLine(
        event, op, rollout, author, float(time), tuple(_span(span) for span in spans), float(seconds), why,
        None if judged is None else tuple(str(label) for label in judged),
    )  # fmt: skip


class ReviewLog:
    """One run's log. Safe for several processes: an append holds a lock on the file."""

    def __init__(self, run: Path) -> None:
        self.path = run / LOG_NAME

    def append(self, line: ReviewLine) -> None:
        """Returns after the line has reached the disk. Raises WovrError for a disk that is full or read-only."""
        data = json.dumps(line.to_json(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with explain_disk_errors(self.path):
            new = not self.path.exists()
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                end = file.seek(0, os.SEEK_END)
                if end and _last_byte(file.fileno(), end) != b"\n":
                    data = b"\n" + data  # a crash cut the line before short: it stays alone
                try:
                    written = 0
                    while written < len(data):
                        written += file.write(data[written:])
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
            if new:
                fsync_directory(self.path.parent)

    def lines(self) -> list[ReviewLine]:
        """All of them, oldest first; what cannot be read is passed over with a warning."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found: dict[str, ReviewLine] = {}
        for number, text in enumerate(raw.split(b"\n"), start=1):
            if not text.strip():
                continue
            try:
                line = read_line(json.loads(text))
            except (ValueError, ReviewError, SpanError) as error:
                log.warning("%s: line %d is passed over: %s", self.path, number, error)
                continue
            found.setdefault(line.id, line)
        return list(found.values())

    def size(self) -> int:
        """Bytes; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def _span(value: object) -> Span:
    if not isinstance(value, Mapping):
        raise ReviewError("a span must be an object")
    version = value.get("version", 0)
    return parse_span(
        value,
        frames=None,
        author=str(value.get("author", "")),
        time=str(value.get("time", "")),
        version=version if isinstance(version, int) else 0,
    )


def _last_byte(descriptor: int, end: int) -> bytes:
    return os.pread(descriptor, 1, end - 1)
