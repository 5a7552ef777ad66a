"""The durable log of spans: JSON Lines, appended and flushed to the disk before an edit is acknowledged.

Several processes may write to one log: each append holds a lock on the file, and first reads what others added.
Nothing is ever rewritten. A line that a crash cut short is closed off by the next writer and skipped by readers,
and a line that is no event of ours is skipped as well; `damaged` tells their numbers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from workbench.scrubber.history import Event, History
from workbench.scrubber.spans import Span, SpanError, checked_id, parse_span
from wovr_core.errors import CorruptFileError
from wovr_core.files import fsync_directory

log = logging.getLogger("wovr.scrubber")

LOG_NAME = "annotations.jsonl"
"""What the log beside a run is called."""


class SpanStore(Protocol):
    """Where spans live: in memory (a notebook without a log), in a log, in the store (workbench.store.annotations)."""

    def spans(self, rollout: str) -> list[Span]:
        """The rollout's spans as they stand."""
        ...

    def version(self, rollout: str, span_id: str) -> int:
        """How many edits a span has seen."""
        ...

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Event:
        """Checks an edit and keeps it. Raises SpanError or history.VersionConflictError; then nothing is kept."""
        ...


class MemorySpans:
    """Spans that last as long as the process."""

    def __init__(self) -> None:
        self._history = History()
        self._guard = threading.Lock()

    def spans(self, rollout: str) -> list[Span]:
        """See SpanStore."""
        return self._history.spans(rollout)

    def version(self, rollout: str, span_id: str) -> int:
        """See SpanStore."""
        return self._history.version(rollout, span_id)

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Event:
        """See SpanStore."""
        with self._guard:
            return _append(self._history, message, rollout=rollout, author=author, frames=frames, keep=lambda _: None)


class SpanLog:
    """Spans in a JSON Lines file."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.damaged: list[int] = []
        """Numbers (from 1) of lines that could not be read."""
        self._history = History()
        self._offset = 0
        self._lines = 0
        self._guard = threading.RLock()
        self._refresh()

    def spans(self, rollout: str) -> list[Span]:
        """See SpanStore. Sees what other processes have added."""
        with self._guard:
            self._refresh()
            return self._history.spans(rollout)

    def rollouts(self) -> list[str]:
        """Ids of the rollouts that have any event."""
        with self._guard:
            self._refresh()
            return self._history.rollouts()

    def version(self, rollout: str, span_id: str) -> int:
        """See SpanStore."""
        with self._guard:
            return self._history.version(rollout, span_id)

    def first_author(self, rollout: str, span_id: str) -> str:
        """Who made a span, which others may have edited since. Raises IndexError when there never was such a span."""
        with self._guard:
            return self._history.events_of(rollout, span_id)[0].author

    def events(self) -> list[Event]:
        """The whole history, oldest first."""
        with self._guard:
            self._refresh()
            return list(self._history.events)

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Event:
        """See SpanStore. Returns after the line has reached the disk."""
        with self._guard, self._locked() as file:
            self._read(file)
            self._end_torn_line(file)
            return _append(
                self._history, message, rollout=rollout, author=author, frames=frames,
                keep=lambda event: self._write(file, [event]),
            )  # fmt: skip

    def extend(self, plan: Callable[[History], Sequence[Event]]) -> list[Event]:
        """Appends the events that `plan` makes of the history as it is now; all of them reach the disk together.

        `plan` must not keep the history. Events that are in already are passed over; returns those that are new.
        """
        with self._guard, self._locked() as file:
            self._read(file)
            self._end_torn_line(file)
            new = [event for event in plan(self._history) if not self._history.knows(event.id)]
            if new:
                self._write(file, new)
            for event in new:
                self._history.admit(event)
            return new

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield file
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
            # Without the lock: writers at the same time share one wait for the disk. Each waits for its own line
            # before it is acknowledged, also for one that stood there already and is sent again.
            os.fsync(file.fileno())
            if new:
                fsync_directory(self.path.parent)

    def _refresh(self) -> None:
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                self._read(file)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError) as error:
            raise CorruptFileError(f"{self.path}: cannot be read as a span log ({error.strerror})") from error

    def _read(self, file: IO[bytes]) -> None:
        """Takes in the lines added since the last look. An unfinished last line is left for the next look."""
        size = file.seek(0, os.SEEK_END)
        if size < self._offset:
            raise CorruptFileError(f"{self.path}: the span log became shorter; restore it from a copy")
        file.seek(self._offset)
        added = file.read(size - self._offset)
        complete = added[: added.rfind(b"\n") + 1]
        for line in complete.splitlines():
            self._lines += 1
            self._take(line)
        self._offset += len(complete)

    def _take(self, line: bytes) -> None:
        try:
            event = read_event(json.loads(line), self._history)
        except (ValueError, SpanError, RecursionError) as error:
            self.damaged.append(self._lines)
            log.warning("%s line %d is skipped: %s", self.path, self._lines, error)
            return
        self._history.admit(event)

    def _end_torn_line(self, file: IO[bytes]) -> None:
        """A crash left a last line without its end: end it, so that the next one stands alone."""
        if file.seek(0, os.SEEK_END) > self._offset:
            file.write(b"\n")
            file.flush()
            self._read(file)

    def _write(self, file: IO[bytes], events: Sequence[Event]) -> None:
        lines = [json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":")).encode() for event in events]
        data = b"".join(line + b"\n" for line in lines)
        try:
            written = 0
            while written < len(data):
                written += file.write(data[written:])
        except OSError:
            # A full disk: what was begun here, and nobody was told of, is taken back.
            with contextlib.suppress(OSError):
                file.truncate(self._offset)
            raise
        self._offset += len(data)
        self._lines += len(lines)


def read_event(value: object, history: History) -> Event:
    """One event out of a log's line. Raises SpanError when it is none, or touches what the history lacks."""
    if not isinstance(value, Mapping):
        raise SpanError("an event must be an object")
    event_id, op = checked_id(value.get("event"), "an event's id"), value.get("op")
    rollout, author, time = (value.get(name) for name in ("rollout", "author", "time"))
    if not (isinstance(rollout, str) and isinstance(author, str) and isinstance(time, str)):
        raise SpanError("an event needs rollout, author and time")
    if op == "put":
        span = parse_span(value.get("span"), frames=None, author=author, time=time, version=0)
        return Event(event_id, rollout, "put", span.id, None, dict(value["span"]), author, time)
    if op == "delete":
        return Event(event_id, rollout, "delete", checked_id(value.get("id"), "a span's id"), None, None, author, time)
    if op == "undo":
        target = history.event(checked_id(value.get("target"), "an undo's target"))
        if target is None or target.rollout != rollout:
            raise SpanError("an undo of an edit that is not in the log")
        return Event(event_id, rollout, "undo", target.span_id, target.id, None, author, time)
    raise SpanError(f"unknown event {op!r}")


def _append(
    history: History,
    message: Mapping[str, Any],
    *,
    rollout: str,
    author: str,
    frames: int | None,
    keep: Callable[[Event], None],
) -> Event:
    known = message.get("event")
    if isinstance(known, str) and (event := history.event(known)) is not None:
        return event  # sent again because the answer was lost
    event = history.parse(message, rollout=rollout, author=author, frames=frames)
    keep(event)
    history.admit(event)
    return event
