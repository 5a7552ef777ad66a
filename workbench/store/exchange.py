"""Annotations out of the store and into it. Importing twice changes nothing; nothing is ever overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from workbench.scrubber.history import Event, History, VersionConflictError
from workbench.scrubber.span_log import read_event
from workbench.scrubber.spans import SpanError, checked_author, parse_span
from workbench.store.formats import SpanRow
from workbench.store.indexer import Indexer
from workbench.store.store import Store
from workbench.store.tables import Annotation, AnnotationEvent, Record, Run


@dataclass
class ImportReport:
    """What came of an import."""

    added: int = 0
    """Events appended: new spans and edits."""
    unchanged: int = 0
    """Rows or events that were in already."""
    conflicts: list[str] = field(default_factory=list)
    """Edits that were made on another version than the present one; nothing was done about them."""
    problems: list[str] = field(default_factory=list)
    """Rows or events that cannot be accepted, and why."""


@dataclass(frozen=True)
class _Target:
    """A run that annotations go into."""

    path: Path
    lengths: Mapping[str, int]
    """Annotation key -> frames of the record."""


def export_spans(store: Store, runs: Sequence[str] | None = None) -> Iterator[SpanRow]:
    """The present annotations of these runs (keys; None: all), by run and rollout."""
    statement = (
        select(Run.key, Annotation)
        .join(Run, Run.id == Annotation.run_id)
        .order_by(Run.key, Annotation.record_key, Annotation.first, Annotation.span_id)
    )
    if runs is not None:
        statement = statement.where(Run.key.in_(runs))
    with store.read() as session:
        rows = [
            SpanRow(
                key, span.record_key, span.span_id, span.first, span.last, span.label, span.severity, span.note,
                span.author, span.time, span.version,
            )
            for key, span in session.execute(statement)
        ]  # fmt: skip
    yield from rows  # a reader that waited for its caller would hold up the writers


def export_events(store: Store, runs: Sequence[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(run, event) of the whole history."""
    statement = (
        select(Run.key, AnnotationEvent.body)
        .join(Run, Run.id == AnnotationEvent.run_id)
        .order_by(Run.key, AnnotationEvent.position)
    )
    if runs is not None:
        statement = statement.where(Run.key.in_(runs))
    with store.read() as session:
        rows = [(key, body) for key, body in session.execute(statement)]
    yield from rows


def import_spans(indexer: Indexer, rows: Sequence[SpanRow], author: str, run: str | None = None) -> ImportReport:
    """Take in annotations of a table: new ones become spans, changed ones edits, both as events of the run's log.

    An edit carries the version at which the row was exported, as an edit in the scrubber does.

    Args:
        author: who edits, and whose the new spans are that name nobody.
        run: take all of them for this run, whatever the rows say.
    """
    report = ImportReport()

    def plan(name: str, target: _Target, mine: list[SpanRow]) -> Callable[[History], list[Event]]:
        return lambda history: _plan_spans(history, target, mine, author, report)

    _import(indexer, [(run or row.run, row) for row in rows], plan, report)
    return report


def import_events(
    indexer: Indexer, events: Sequence[tuple[int, str, dict[str, Any]]], run: str | None = None
) -> ImportReport:
    """Take in a history: (line, run, event) as from formats.from_json_lines. A span whose history went another way
    here than there is a conflict, and is left as it is.
    """
    report = ImportReport()

    def plan(name: str, target: _Target, mine: list[tuple[int, dict[str, Any]]]) -> Callable[[History], list[Event]]:
        return lambda history: _plan_events(history, target, mine, report)

    _import(indexer, [(run or name, (line, event)) for line, name, event in events], plan, report)
    return report


def _import(indexer: Indexer, given: list[tuple[str, Any]], plan: Any, report: ImportReport) -> None:
    by_run: dict[str, list[Any]] = {}
    for name, one in given:
        by_run.setdefault(name, []).append(one)
    for name, mine in by_run.items():
        target = _target(indexer.store, name)
        if target is None:
            what = f"there is no run {name!r}" if name else "the file does not name its run"
            report.problems.append(f"{what} ({len(mine)} left out); name one with --run")
            continue
        annotations = indexer.annotations(target.path)
        report.added += len(annotations.log.extend(plan(name, target, mine)))
        annotations.follow()


def _target(store: Store, key: str) -> _Target | None:
    with store.read() as session:
        run = session.scalars(select(Run).where(Run.key == key)).first()
        if run is None or not Path(run.path).is_dir():
            return None
        rows = session.execute(select(Record.annotation_key, Record.length).where(Record.run_id == run.id))
        return _Target(Path(run.path), {name: length + 1 for name, length in rows})


def _plan_spans(
    history: History, target: _Target, rows: Sequence[SpanRow], author: str, report: ImportReport
) -> list[Event]:
    events: list[Event] = []
    planned: set[tuple[str, str]] = set()
    for row in rows:
        row = row if row.span else replace(row, span="i" + _digest(_content(row)))
        try:
            event = _plan_span(history, target, row, author)
            if event is None or history.knows(event.id):
                report.unchanged += 1
            elif (row.rollout, row.span) in planned:
                report.problems.append(f"{row.rollout}, span {row.span}: stands twice in the file")
            else:
                planned.add((row.rollout, row.span))
                events.append(event)
        except VersionConflictError as error:
            report.conflicts.append(f"{row.rollout}, span {row.span}: {error}")
        except SpanError as error:
            report.problems.append(f"{row.rollout}, span {row.span}: {error}")
    return events


def _plan_span(history: History, target: _Target, row: SpanRow, author: str) -> Event | None:
    """The event that brings the span to what the row says; None if it is that already. Raises as History.parse."""
    frames = target.lengths.get(row.rollout)
    if frames is None:
        raise SpanError("there is no such rollout in the run")
    content = {
        "id": row.span, "start": row.first, "end": row.last, "label": row.label, "severity": row.severity,
        "note": row.note,
    }  # fmt: skip
    have = history.version(row.rollout, row.span)
    wanted = parse_span(content, frames=frames, author="", time="", version=0)
    present = next((span for span in history.spans(row.rollout) if span.id == row.span), None)
    if present and replace(present, author="", time="", version=0) == wanted:
        return None
    message = {
        "event": "i" + _digest([row.rollout, content, row.version]),
        "op": "put",
        "version": row.version + 1,
        "span": content,
    }
    if history.knows(message["event"]):
        return history.event(str(message["event"]))
    new = have == 0
    if new and row.version > 0:
        message["version"] = 1  # exported elsewhere: here it begins
    who = checked_author((row.author or author) if new else author)
    when = row.time if new and _is_time(row.time) else None
    return history.parse(message, rollout=row.rollout, author=who, frames=frames, time=when)


def _plan_events(
    history: History, target: _Target, given: Sequence[tuple[int, dict[str, Any]]], report: ImportReport
) -> list[Event]:
    scratch = History()
    for event in history.events:
        scratch.admit(event)
    by_span: dict[tuple[str, str], list[Event]] = {}
    for line, value in given:
        try:
            event = read_event(value, scratch)
            checked_author(event.author)
            if not _is_time(event.time):
                raise SpanError(f"{event.time[:40]!r} is no time of day in ISO 8601")
            frames = target.lengths.get(event.rollout)
            if frames is None:
                raise SpanError(f"there is no rollout {event.rollout!r} in the run")
            if event.payload:
                parse_span(event.payload, frames=frames, author="", time="", version=0)
        except SpanError as error:
            report.problems.append(f"line {line}: {error}")
            continue
        scratch.admit(event)
        by_span.setdefault((event.rollout, event.span_id), []).append(event)
    new: list[Event] = []
    for (rollout, span), events in by_span.items():
        here = [event.id for event in history.events_of(rollout, span)]
        there = [event.id for event in events]
        if here[: len(there)] != there[: len(here)]:
            conflict = VersionConflictError(span, len(there), len(here))
            report.conflicts.append(f"{rollout}, span {span}: {conflict}")
        else:
            report.unchanged += min(len(here), len(there))
            new += events[len(here) :]
    order = {event.id: n for n, event in enumerate(scratch.events)}
    return sorted(new, key=lambda event: order[event.id])


def _content(row: SpanRow) -> list[Any]:
    return [row.rollout, row.first, row.last, row.label, row.severity, row.note, row.author]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).year > 2000
    except (ValueError, OverflowError):
        return False
