"""The events behind spans: append-only, with undo as an event, folded into the present state.

An event is a JSON object:
    {"event": id, "rollout": id, "op": "put", "span": {id, start, end, label, severity, note}, "author", "time"}
    {"event": id, "rollout": id, "op": "delete", "id": span id, "author", "time"}
    {"event": id, "rollout": id, "op": "undo", "target": event id, "author", "time"}
An undo takes back the newest put or delete of a span that is still in force. An undo whose target is itself an
undo is a redo. A span's version counts all events that touched it, so it only ever rises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workbench.scrubber.spans import Span, SpanError, checked_id, parse_span
from wovr_core.errors import WovrError


class VersionConflictError(WovrError):
    """The span has changed since the writer last saw it. Nothing is overwritten and nothing is lost."""

    def __init__(self, span_id: str, seen: object, have: int, author: str = "", time: str = "") -> None:
        """seen, have: the version that the edit was made on, and the present one, by `author` at `time`."""
        self.span_id, self.seen, self.have = span_id, seen, have
        whose = f", by {author} at {time}" if author else ""
        super().__init__(
            f"this span has changed meanwhile: the edit was made on version {seen}, it is at version {have}{whose}; "
            "look at it again"
        )


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    id: str
    rollout: str
    op: str
    span_id: str
    target: str | None
    payload: dict[str, Any] | None
    author: str
    time: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the log."""
        body: dict[str, Any] = {"event": self.id, "rollout": self.rollout, "op": self.op}
        if self.op == "put":
            body["span"] = self.payload
        elif self.op == "delete":
            body["id"] = self.span_id
        else:
            body["target"] = self.target
        return body | {"author": self.author, "time": self.time}


@dataclass
class History:
    """All events, and what they amount to. `accept` checks an edit; `admit` takes an event as it comes from a log."""

    events: list[Event] = field(default_factory=list)
    _by_id: dict[str, int] = field(default_factory=dict)
    _of_span: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    _of_rollout: dict[str, list[str]] = field(default_factory=dict)
    """Rollout -> ids of its spans, deleted ones included."""

    def knows(self, event_id: object) -> bool:
        """Whether this event is in already: sending an edit twice does no harm."""
        return event_id in self._by_id

    def rollouts(self) -> list[str]:
        """Ids of the rollouts that any event concerns, in order of appearance."""
        return list(self._of_rollout)

    def version(self, rollout: str, span_id: str) -> int:
        """How many events have touched this span, which may be deleted by now."""
        return len(self._of_span.get((rollout, span_id), ()))

    def spans(self, rollout: str) -> list[Span]:
        """The spans of a rollout as they stand, by first frame."""
        found = [self._fold((rollout, span_id)) for span_id in self._of_rollout.get(rollout, ())]
        return sorted((s for s in found if s is not None), key=lambda s: (s.start, s.end, s.id))

    def parse(
        self,
        message: Mapping[str, Any],
        *,
        rollout: str,
        author: str,
        frames: int | None,
        time: str | None = None,
    ) -> Event:
        """An event out of an edit message, checked by itself and against this history.

        Raises:
            SpanError: a malformed edit, or an undo that is not allowed.
            VersionConflictError: the edit was made on an older version of the span.
        """
        event_id = checked_id(message.get("event"), "an edit's id")
        op, now = message.get("op"), time or datetime.now(UTC).isoformat(timespec="milliseconds")
        if op == "put":
            span = parse_span(message.get("span"), frames=frames, author=author, time=now, version=0)
            record = span.to_json()
            payload = {name: record[name] for name in ("id", "start", "end", "label", "severity", "note")}
            event = Event(event_id, rollout, op, span.id, None, payload, author, now)
        elif op == "delete":
            event = Event(event_id, rollout, op, checked_id(message.get("id"), "a span's id"), None, None, author, now)
        elif op == "undo":
            target = self._undoable(rollout, checked_id(message.get("target"), "an undo's target"))
            return Event(event_id, rollout, op, target.span_id, target.id, None, author, now)
        else:
            raise SpanError(f"unknown edit {op!r}; known: put, delete, undo")
        self._check_version(event, message.get("version"))
        return event

    def admit(self, event: Event) -> None:
        """Adds an event that was checked, or that a log holds; one that is in already changes nothing."""
        if event.id in self._by_id:
            return
        at = len(self.events)
        self.events.append(event)
        self._by_id[event.id] = at
        key = (event.rollout, event.span_id)
        if key not in self._of_span:
            self._of_rollout.setdefault(event.rollout, []).append(event.span_id)
        self._of_span.setdefault(key, []).append(at)

    def event(self, event_id: str) -> Event | None:
        """The event of this id."""
        at = self._by_id.get(event_id)
        return None if at is None else self.events[at]

    def events_of(self, rollout: str, span_id: str) -> list[Event]:
        """All that touched a span, oldest first."""
        return [self.events[at] for at in self._of_span.get((rollout, span_id), ())]

    # -- the rules of undo

    def _in_force(self, key: tuple[str, str]) -> tuple[list[Event], list[Event]]:
        """Edits, and undos of edits, of one span that no later event took back."""
        cancelled: set[str] = set()
        edits: list[Event] = []
        undos: list[Event] = []
        for at in reversed(self._of_span.get(key, [])):
            event = self.events[at]
            if event.id in cancelled:
                continue
            if event.target is not None:
                cancelled.add(event.target)
                undos.append(event)
            else:
                edits.append(event)
        return edits[::-1], undos[::-1]

    def _undoable(self, rollout: str, target_id: str) -> Event:
        target = self.event(target_id)
        if target is None or target.rollout != rollout:
            raise SpanError(f"there is no edit {target_id!r} to undo")
        edits, undos = self._in_force((rollout, target.span_id))
        if target.target is None:
            if not edits or edits[-1].id != target.id:
                raise SpanError("only the newest edit of a span can be undone; somebody edited it since")
            return target
        original = self.event(target.target)
        if original is None or original.target is not None:
            raise SpanError("a redo is taken back by undoing its edit")
        pending = [u for u in undos if (o := self.event(u.target or "")) is not None and o.target is None]
        newest_edit = self._by_id[edits[-1].id] if edits else -1
        if not pending or pending[-1].id != target.id or newest_edit > self._by_id[target.id]:
            raise SpanError("only the newest undo of a span can be taken back; somebody edited it since")
        return target

    def _check_version(self, event: Event, version: object) -> None:
        have = self.version(event.rollout, event.span_id)
        if version != have + 1:
            seen = version - 1 if isinstance(version, int) and not isinstance(version, bool) else "?"
            last = self.events[self._of_span[event.rollout, event.span_id][-1]] if have else None
            raise VersionConflictError(
                event.span_id, seen, have, last.author if last else "", last.time if last else ""
            )
        edits, _ = self._in_force((event.rollout, event.span_id))
        if event.op == "delete" and (not edits or edits[-1].op == "delete"):
            raise SpanError(f"there is no span {event.span_id!r} to delete")

    def _fold(self, key: tuple[str, str]) -> Span | None:
        edits, _ = self._in_force(key)
        if not edits or edits[-1].op == "delete":
            return None
        last = edits[-1]
        return parse_span(last.payload, frames=None, author=last.author, time=last.time, version=self.version(*key))
