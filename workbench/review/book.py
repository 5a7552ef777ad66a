"""All runs' reviews: the logs beside the runs, the store's rows that follow them, and what they amount to."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from workbench.review.log import ReviewLine, ReviewLog, read_line
from workbench.store.review_tables import ReviewEvent
from workbench.store.store import Store
from workbench.store.tables import Run

ItemKey = tuple[int, str]
"""(Run.id, the record's annotation key)"""


@dataclass
class ItemState:
    """What was done about one item so far."""

    submissions: dict[str, ReviewLine] = field(default_factory=dict)
    """Annotator -> the first thing that they handed in, oldest first. Nobody is asked twice."""
    skipped: set[str] = field(default_factory=set)
    adjudications: list[ReviewLine] = field(default_factory=list)
    """Oldest first; the latest holds."""
    gold: ReviewLine | None = None
    """The known answer, where there is one."""

    def take(self, line: ReviewLine) -> None:
        """Follow one event."""
        if line.op == "submit":
            self.submissions.setdefault(line.author, line)
        elif line.op == "skip":
            self.skipped.add(line.author)
        elif line.op == "adjudicate":
            self.adjudications.append(line)
        else:
            self.gold = line if line.op == "gold" else None


class ReviewBook:
    """Reads and adds events. Safe for several threads and processes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._guard = threading.Lock()
        self._sizes: dict[int, int] = {}

    def follow(self) -> int:
        """Take in what the logs hold and the rows do not; returns how many lines were new.

        Logs of runs whose folder is not there keep their rows.
        """
        with self._guard:
            grown = [(run, log) for run, log in self._logs() if self._sizes.get(run) != log.size()]
            added = 0
            for run_id, log in grown:
                size = log.size()
                if size and not self._in_step(run_id, log):
                    with self.store.write() as session:
                        added += take_in(session, run_id, log)
                self._sizes[run_id] = size
            return added

    def add(self, session: Session, run_id: int, line: ReviewLine) -> None:
        """Append to the run's log, then to the rows; `session` is the one writer's, so that nobody comes between.

        Raises WovrError when the log cannot be written; then nothing is kept.
        """
        path = session.scalar(select(Run.path).where(Run.id == run_id))
        log = ReviewLog(Path(str(path)))
        log.append(line)
        take_in(session, run_id, log)

    def states(self, session: Session, keys: Iterable[ItemKey] | None = None) -> dict[ItemKey, ItemState]:
        """State of each item that has any event; only of these items where `keys` are given."""
        statement = select(ReviewEvent.run_id, ReviewEvent.body).order_by(ReviewEvent.run_id, ReviewEvent.position)
        wanted = None if keys is None else set(keys)
        if wanted is not None:
            statement = statement.where(
                ReviewEvent.run_id.in_({run for run, _ in wanted}), ReviewEvent.record_key.in_({k for _, k in wanted})
            )
        found: dict[ItemKey, ItemState] = {}
        for run_id, body in session.execute(statement):
            line = read_line(body)
            key = (int(run_id), line.rollout)
            if wanted is None or key in wanted:
                found.setdefault(key, ItemState()).take(line)
        return found

    def states_of(self, key: ItemKey) -> ItemState:
        """State of one item, the logs looked at first."""
        self.follow()
        with self.store.read() as session:
            return self.states(session, [key]).get(key, ItemState())

    def _logs(self) -> list[tuple[int, ReviewLog]]:
        with self.store.read() as session:
            rows = session.execute(select(Run.id, Run.path).where(~Run.missing).order_by(Run.id)).all()
        return [(int(run_id), ReviewLog(Path(path))) for run_id, path in rows]

    def _in_step(self, run_id: int, log: ReviewLog) -> bool:
        with self.store.read() as session:
            return _rows(session, run_id) == [line.id for line in log.lines()]


def take_in(session: Session, run_id: int, log: ReviewLog) -> int:
    """Bring a run's rows up to its log; returns how many were added. A log that was replaced replaces its rows."""
    lines, have = log.lines(), _rows(session, run_id)
    if have != [line.id for line in lines[: len(have)]]:
        session.execute(delete(ReviewEvent).where(ReviewEvent.run_id == run_id))
        have = []
    rows = [_row(run_id, position, lines[position]) for position in range(len(have), len(lines))]
    if rows:
        session.execute(insert(ReviewEvent), rows)
    return len(rows)


def _rows(session: Session, run_id: int) -> list[str]:
    found = session.scalars(
        select(ReviewEvent.event).where(ReviewEvent.run_id == run_id).order_by(ReviewEvent.position)
    )
    return list(found)


def _row(run_id: int, position: int, line: ReviewLine) -> Mapping[str, object]:
    return {
        "run_id": run_id,
        "position": position,
        "event": line.id,
        "record_key": line.rollout,
        "op": line.op,
        "author": line.author,
        "time": line.time,
        "body": line.to_json(),
    }
