"""What is held to be true of an item in the end: agreement, a third person's decision, or a known answer.

Decisions are events of the review log. A later one supersedes an earlier one, and all of them stay, with who and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select

from workbench.review.agreement import match_spans
from workbench.review.book import ItemKey, ItemState
from workbench.review.log import ReviewError, ReviewLine, new_line
from workbench.review.queue import ReviewQueue
from workbench.review.ranking import chance, needed
from workbench.scrubber.spans import LABEL_KEYS, Span, parse_span
from workbench.store.review_tables import ReviewClaim
from workbench.store.tables import Record, RolloutRow
from wovr_core.errors import UnknownNameError

JUDGED_BY_AUDIT = ("false_success", "missed_success")
"""Labels about which the audit knows the truth."""


@dataclass(frozen=True)
class Decision:
    """The spans that hold for an item."""

    how: Literal["gold", "adjudicated", "agreed", "single"]
    spans: tuple[Span, ...]
    by: str
    why: str = ""


def decide(state: ItemState, wanted: int) -> Decision | None:
    """None while fewer than `wanted` people are done, or while two of them disagree."""
    if state.adjudications:
        last = state.adjudications[-1]
        return Decision("adjudicated", last.spans, last.author, last.why)
    if state.gold is not None and state.gold.judged is None:
        return Decision("gold", state.gold.spans, state.gold.author, state.gold.why)
    done = list(state.submissions.values())
    if state.gold is not None or len(done) < wanted:
        return None
    if len(done) == 1:
        return Decision("single", done[0].spans, done[0].author)
    if all(agree(done[0].spans, other.spans) for other in done[1:]):
        return Decision("agreed", done[0].spans, ", ".join(line.author for line in done))
    return None


def agree(first: Sequence[Span], second: Sequence[Span]) -> bool:
    """Whether each span of either has its like, of the same label, in the other (agreement.MATCH)."""
    return match_spans(first, second).f1 == 1.0


class Decisions:
    """Makes and reads decisions about a queue's items."""

    def __init__(self, queue: ReviewQueue) -> None:
        self._queue, self._store, self._book = queue, queue.store, queue.book

    def of(self, record_id: str) -> Decision | None:
        """What holds for an item, if anything does yet. Raises ReviewError for an id that there is none of."""
        key, _ = self._item(record_id)
        return decide(self._book.states_of(key), needed(self._queue.config, record_id))

    def disputed(self) -> list[str]:
        """Ids of items whose annotators disagree, in the queue's order."""
        entries = self._queue.ranked()
        with self._store.read() as session:
            states = self._book.states(session)
        found = []
        for entry in entries:
            state, wanted = states.get(entry.key), needed(self._queue.config, entry.id)
            if state and state.gold is None and len(state.submissions) >= max(wanted, 2) and not decide(state, wanted):
                found.append(entry.id)
        return found

    def adjudicate(self, record_id: str, by: str, spans: Sequence[Mapping[str, Any]], why: str) -> ReviewLine:
        """A third person's decision between the annotators; it supersedes what was decided before.

        Args:
            spans: as a browser sends them, or Span.to_json().

        Raises:
            ReviewError: no two people have labelled the item, `by` is one of them, or there is no reason.
            SpanError: a span that is none.
        """
        key, frames = self._item(record_id)
        made = _spans(spans, frames, by)
        with self._store.write() as session:
            state = self._book.states(session, [key]).get(key, ItemState())
            if state.gold is not None:
                raise ReviewError(f"{record_id} is gold: its answer is known; retire it first")
            if len(state.submissions) < 2:
                have = len(state.submissions)
                raise ReviewError(f"{record_id} was labelled by {have}, there is nothing to decide between")
            if by in state.submissions:
                raise ReviewError(f"{by} has labelled {record_id}; a third person must decide")
            line = new_line("adjudicate", key[1], by, self._queue.now(), spans=made, why=_reason(why))
            self._book.add(session, key[0], line)
        return line

    def set_gold(
        self,
        record_id: str,
        by: str,
        spans: Sequence[Mapping[str, Any]],
        why: str,
        judged: Sequence[str] | None = None,
    ) -> ReviewLine:
        """Make an item gold: its answer is known, and annotators are measured by it.

        Args:
            spans: the answer; none says that nothing is wrong.
            judged: labels that the answer is about; None: all of them.

        Raises:
            ReviewError: no reason, somebody holds the item, or somebody has handed it in already.
            SpanError, UnknownNameError: a span or a label that is none.
        """
        key, frames = self._item(record_id)
        for label in judged or ():
            if label not in LABEL_KEYS:
                raise UnknownNameError("label", label, LABEL_KEYS)
        made, kept = _spans(spans, frames, by), None if judged is None else tuple(judged)
        with self._store.write() as session:
            state = self._book.states(session, [key]).get(key, ItemState())
            held = select(ReviewClaim).where(
                ReviewClaim.run_id == key[0],
                ReviewClaim.record_key == key[1],
                ReviewClaim.expires > self._queue.now(),
            )
            if state.gold is None and (state.submissions or session.scalars(held).first() is not None):
                raise ReviewError(f"{record_id} is, or was, in somebody's hands: gold must be new to everybody")
            more = {"spans": made, "why": _reason(why), "judged": kept}
            line = new_line("gold", key[1], by, self._queue.now(), **more)
            self._book.add(session, key[0], line)
        return line

    def retire_gold(self, record_id: str, by: str, why: str) -> ReviewLine:
        """The item is an item as any other again. Raises ReviewError when it is no gold."""
        key, _ = self._item(record_id)
        with self._store.write() as session:
            if self._book.states(session, [key]).get(key, ItemState()).gold is None:
                raise ReviewError(f"{record_id} is no gold")
            line = new_line("retire", key[1], by, self._queue.now(), why=_reason(why))
            self._book.add(session, key[0], line)
        return line

    def gold_from_audit(self, share: float, by: str = "audit") -> list[str]:
        """Make a share of the audited rollouts gold, chosen by a hash of their ids; returns the ids of new ones.

        The audit knows whether a success is false or missed, and nothing else: gold of it judges these labels alone.
        The marked frames are those from the imagined success on, or the last where it was missed.
        """
        entries = {entry.id: entry for entry in self._queue.ranked()}
        with self._store.read() as session:
            states = self._book.states(session)
            depths = session.execute(
                select(Record.id, Record.depth, Record.success).join(RolloutRow, RolloutRow.record_id == Record.id)
            ).all()
        made = []
        for record_id, depth, success in depths:
            entry = entries.get(record_id)
            chosen = chance(self._queue.config.seed, "gold", record_id) < share
            if entry is None or "audit" not in entry.signals or not chosen or entry.key in states:
                continue
            spans: list[dict[str, Any]] = []
            if entry.signals["audit"] == 1:
                label = "false_success" if success else "missed_success"
                first = min(depth, entry.frames - 1)
                spans.append(
                    {"id": "gold", "start": first, "end": entry.frames - 1, "label": label, "severity": 2, "note": ""}
                )
            try:
                self.set_gold(record_id, by, spans, "known from the audit", JUDGED_BY_AUDIT)
            except ReviewError:
                continue  # somebody took it this moment
            made.append(record_id)
        return made

    def _item(self, record_id: str) -> tuple[ItemKey, int]:
        with self._store.read() as session:
            row = session.execute(
                select(Record.run_id, Record.annotation_key, Record.length).where(Record.id == record_id)
            ).first()
        if row is None:
            raise ReviewError(f"the store has no record {record_id!r}; `wovr store rebuild` takes in new runs")
        return (row.run_id, row.annotation_key), row.length + 1


def _spans(values: Sequence[Mapping[str, Any]], frames: int, author: str) -> tuple[Span, ...]:
    return tuple(parse_span(value, frames=frames, author=author, time="", version=1) for value in values)


def _reason(why: str) -> str:
    if not why.strip():
        raise ReviewError("a decision needs its reason")
    return why
