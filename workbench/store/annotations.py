"""Annotations in the store: an index of the runs' logs.

The log beside a run (scrubber.span_log) is the one truth: append-only JSON Lines, on the disk before an edit is
acknowledged. The store's rows follow it, so that spans can be searched over all runs; whatever the rows miss (a
kill between log and commit, a notebook that wrote into the log alone) is taken in at the next look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, select
from sqlalchemy.orm import Session

from workbench.scrubber.history import Event
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.scrubber.spans import Span
from workbench.store.database import StoreBusyError, StoreError
from workbench.store.rows import chunks
from workbench.store.store import Store
from workbench.store.tables import Annotation, AnnotationEvent, Record

log = logging.getLogger("wovr.store")


_PAUSE = 0.5
"""Seconds between two commits of one process's annotations: each costs the disk several waits."""


class RunAnnotations:
    """A SpanStore over one run's log that keeps the store's rows in step. Safe for several threads and processes."""

    def __init__(self, store: Store, run_id: int, run: Path) -> None:
        """Raises CorruptFileError when the run's log cannot be read."""
        self.log = SpanLog(run / LOG_NAME)
        self._store, self._run_id = store, run_id
        self._followed = float("-inf")
        self._size = -1

    def spans(self, rollout: str) -> list[Span]:
        """See SpanStore; `rollout` is the record's annotation key."""
        return self.log.spans(rollout)

    def version(self, rollout: str, span_id: str) -> int:
        """See SpanStore."""
        return self.log.version(rollout, span_id)

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Event:
        """See SpanStore. Raises SpanError or VersionConflictError; then nothing is kept.

        Nobody waits for the store's rows: they follow at once when the store is free and was not written a moment
        ago, else at the next look.
        """
        event = self.log.append(message, rollout=rollout, author=author, frames=frames)
        if time.monotonic() - self._followed > _PAUSE:
            try:
                self.follow(wait=False)
            except StoreBusyError:
                pass
            except StoreError as error:
                log.warning("an annotation is in %s, but not yet in the store: %s", self.log.path, error)
        return event

    def grown(self) -> bool:
        """Whether the log has another size than when its rows were last known to be in step."""
        return _size(self.log.path) != self._size

    def follow(self, wait: bool = True) -> int:
        """Bring the store's rows up to the log; returns how many events were new.

        Raises StoreError; with `wait` false StoreBusyError when somebody else is writing.
        """
        size = _size(self.log.path)
        added = self._follow(wait)
        self._followed, self._size = time.monotonic(), size
        return added

    def _follow(self, wait: bool) -> int:
        if wait:  # whoever does not wait would wait here: a reader stands behind SQLite's writers, in no order
            events = self.log.events()
            with self._store.read() as session:
                if _indexed(session, self._run_id, events) == len(events):
                    return 0
        with self._store.write(wait) as session:
            # Rows come after their lines, and only under this lock: the log is now at least as long as the rows.
            events = self.log.events()
            have = _indexed(session, self._run_id, events)
            if have is None:  # the log was replaced: these rows are of another one
                session.execute(delete(AnnotationEvent).where(AnnotationEvent.run_id == self._run_id))
                session.execute(delete(Annotation).where(Annotation.run_id == self._run_id))
                have = 0
            new = events[have:]
            if new:
                rows = [_event_row(self._run_id, have + n, event) for n, event in enumerate(new)]
                session.execute(insert(AnnotationEvent), rows)
                self._refold(session, {(event.rollout, event.span_id) for event in new})
        return len(new)

    def _refold(self, session: Session, touched: set[tuple[str, str]]) -> None:
        by_record: dict[str, list[str]] = {}
        for key, span_id in sorted(touched):
            by_record.setdefault(key, []).append(span_id)
        rows = []
        for key, span_ids in by_record.items():
            for some in chunks(span_ids):
                mine = (Annotation.run_id == self._run_id, Annotation.record_key == key, Annotation.span_id.in_(some))
                session.execute(delete(Annotation).where(*mine))
            present = {span.id: span for span in self.log.spans(key)}
            for span_id in span_ids:
                if span := present.get(span_id):
                    rows.append(_span_row(self._run_id, key, span, self.log.first_author(key, span_id)))
        if rows:
            session.execute(insert(Annotation), rows)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _indexed(session: Session, run_id: int, events: Sequence[Event]) -> int | None:
    """How many of the log's events have rows; None when the rows are not a beginning of this log."""
    count = session.scalar(
        select(func.count()).select_from(AnnotationEvent).where(AnnotationEvent.run_id == run_id)
    ) or 0  # fmt: skip
    if count == 0:
        return 0
    last = session.get(AnnotationEvent, (run_id, count - 1))
    if last is None or count > len(events) or last.event != events[count - 1].id:
        return None
    return int(count)


def _event_row(run_id: int, position: int, event: Event) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "position": position,
        "event": event.id,
        "record_key": event.rollout,
        "op": event.op,
        "span_id": event.span_id,
        "body": event.to_json(),
        "author": event.author,
        "time": event.time,
    }


def _span_row(run_id: int, key: str, span: Span, created_by: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "record_key": key,
        "span_id": span.id,
        "first": span.start,
        "last": span.end,
        "label": span.label,
        "severity": span.severity,
        "note": span.note,
        "author": span.author,
        "created_by": created_by,
        "time": span.time,
        "version": span.version,
    }


def on_record() -> ColumnElement[bool]:
    """The join of annotations to their records."""
    return and_(Annotation.run_id == Record.run_id, Annotation.record_key == Record.annotation_key)


def span_of(row: Annotation) -> Span:
    return Span(
        row.span_id, row.first, row.last, row.label, row.severity, row.note, row.author, row.time, row.version
    )  # fmt: skip


def counts(session: Session, ids: Sequence[str]) -> dict[str, int]:
    """Record id -> how many spans it carries, of those that carry any."""
    rows = session.execute(
        select(Record.id, func.count()).join(Annotation, on_record()).where(Record.id.in_(ids)).group_by(Record.id)
    )
    return {str(record): int(count) for record, count in rows}
