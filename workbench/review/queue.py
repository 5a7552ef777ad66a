"""The review queue: who looks at what next.

A claim gives an item to one annotator for some minutes; renewing it keeps it, and what nobody renews goes back. Two
people hold one item at the same time only where two are to label it. Everything is decided inside the store's one
writer, so that it holds for any number of processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Delete, delete, select
from sqlalchemy.orm import Session

from workbench.evidence.gather import EvidenceStore
from workbench.review.book import ItemKey, ItemState, ReviewBook
from workbench.review.log import ReviewError, ReviewLine, new_line
from workbench.review.ranking import Entry, QueueConfig, chance, is_open, needed, rank
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.scrubber.spans import Span, checked_author
from workbench.store.review_tables import ReviewClaim
from workbench.store.store import Store
from workbench.store.tables import Run

RANKING_SECONDS = 30.0
"""For so long a ranking serves; rollouts that arrive meanwhile wait."""


class ClaimLostError(ReviewError):
    """The claim has expired or was given back, and the item has gone to somebody else, or is done."""


@dataclass(frozen=True)
class Claim:
    """An item in somebody's hands. It does not say whether the item is labelled twice, or gold."""

    id: str
    """The record's id in the store."""
    key: ItemKey
    annotator: str
    frames: int
    made: float
    expires: float
    """Both in seconds since 1970."""
    reason: str
    """Why it is worth a look."""


class ReviewQueue:
    """Safe for several threads and processes. `now` is the clock, in seconds since 1970."""

    def __init__(
        self,
        store: Store,
        config: QueueConfig | None = None,
        evidence: EvidenceStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.config = store, config or QueueConfig()
        self.book = ReviewBook(store)
        self._evidence, self.now = evidence or EvidenceStore(store), now
        self._guard = threading.Lock()
        self._entries: list[Entry] = []
        self._ranked = float("-inf")

    def ranked(self, again: bool = False) -> list[Entry]:
        """Every rollout in order, done or not; at most RANKING_SECONDS old unless `again`."""
        with self._guard:
            if again or time.monotonic() - self._ranked > RANKING_SECONDS:
                self.book.follow()
                self._entries, self._ranked = rank(self.store, self._evidence, self.config), time.monotonic()
            return self._entries

    def head(self, limit: int = 20, annotator: str | None = None) -> list[Entry]:
        """The first open items; with an annotator, of those that this one could be given. Claimed ones included."""
        entries = self.ranked()
        with self.store.read() as session:
            states = self.book.states(session)
        return list(islice((e for e in entries if self._wants(e, states.get(e.key), annotator)), limit))

    def progress(self) -> dict[str, int]:
        """{"open", "claimed", "done"}: items, and live claims."""
        entries = self.ranked()
        with self.store.read() as session:
            states = self.book.states(session)
            claims = session.scalars(select(ReviewClaim).where(ReviewClaim.expires > self.now())).all()
            claimed = len({(claim.run_id, claim.record_key) for claim in claims})
        waiting = sum(is_open(self.config, e.id, states.get(e.key)) for e in entries)
        return {"open": waiting, "claimed": claimed, "done": len(entries) - waiting}

    def claim(self, annotator: str) -> Claim | None:
        """The next item for this annotator, or the one that is theirs already; None when nothing is left for them.

        Raises SpanError for a name that is none, StoreError.
        """
        if not checked_author(annotator).strip():
            raise ReviewError("a claim needs an annotator")
        entries = {entry.key: entry for entry in self.ranked()}
        with self.store.write() as session:
            now = self.now()
            session.execute(delete(ReviewClaim).where(ReviewClaim.expires <= now))
            claims = session.scalars(select(ReviewClaim)).all()
            mine = [claim for claim in claims if claim.annotator == annotator]
            for row in mine:
                if entry := entries.get((row.run_id, row.record_key)):
                    row.expires = now + self.config.lease_seconds
                    return _claim(entry, row)
            states, held = self.book.states(session), _held(claims)
            chosen = self._gold(annotator, entries, states, held) or self._next(annotator, entries, states, held)
            if chosen is None:
                return None
            run_id, key = chosen.key
            row = ReviewClaim(
                run_id=run_id, record_key=key, annotator=annotator, made=now, expires=now + self.config.lease_seconds
            )
            made = _claim(chosen, row)
            session.add(row)
            return made

    def heartbeat(self, claim: Claim) -> Claim:
        """The claim, renewed. Raises ClaimLostError when it has expired."""
        with self.store.write() as session:
            row = self._live(session, claim)
            if row is None:
                raise ClaimLostError(f"the claim on {claim.id} has expired; claim it, or the next item, again")
            row.expires = self.now() + self.config.lease_seconds
            return Claim(**{**vars(claim), "made": row.made, "expires": row.expires})

    def release(self, claim: Claim) -> None:
        """Give the item back; whoever asks next, the same annotator included, may get it."""
        with self.store.write() as session:
            session.execute(_row_of(claim))

    def skip(self, claim: Claim, why: str) -> None:
        """Pass the item on to others for good. Raises ClaimLostError, or ReviewError without a reason."""
        if not why.strip():
            raise ReviewError("say why the item is passed on")
        with self.store.write() as session:
            if self._live(session, claim) is None:
                raise ClaimLostError(f"the claim on {claim.id} has expired: it is passed on already")
            session.execute(_row_of(claim))
            line = new_line("skip", claim.key[1], claim.annotator, self.now(), why=why)
            self.book.add(session, claim.key[0], line)

    def submit(self, claim: Claim, spans: Sequence[Span] | None = None) -> ReviewLine:
        """The annotator is done: the spans are kept as they are now, and the claim ends.

        An expired claim still counts while the item wants another opinion: work is not thrown away.

        Args:
            spans: None: those that the annotator has made in the run's annotation log.

        Raises:
            ClaimLostError: the item needs nobody any more, or this annotator has handed it in before.
            SpanError: a span that is none.
        """
        with self.store.write() as session:
            now = self.now()
            state = self.book.states(session, [claim.key]).get(claim.key, ItemState())
            row = self._live(session, claim)
            if claim.annotator in state.submissions:
                raise ClaimLostError(f"{claim.annotator} has handed in {claim.id} before; an adjudicator can change it")
            if row is None and not self._room(session, claim, state):
                raise ClaimLostError(
                    f"the claim on {claim.id} has expired and others have the item; the spans stay in its run's log"
                )
            kept = tuple(spans) if spans is not None else self._own_spans(session, claim)
            began = row.made if row is not None else claim.made
            line = new_line("submit", claim.key[1], claim.annotator, now, spans=kept, seconds=max(now - began, 0.0))
            session.execute(_row_of(claim))
            self.book.add(session, claim.key[0], line)
            return line

    def _own_spans(self, session: Session, claim: Claim) -> tuple[Span, ...]:
        run_id, key = claim.key
        log = SpanLog(Path(str(session.scalar(select(Run.path).where(Run.id == run_id)))) / LOG_NAME)
        return tuple(span for span in log.spans(key) if log.first_author(key, span.id) == claim.annotator)

    def _live(self, session: Session, claim: Claim) -> ReviewClaim | None:
        row = session.get(ReviewClaim, (*claim.key, claim.annotator))
        return row if row is not None and row.expires > self.now() else None

    def _room(self, session: Session, claim: Claim, state: ItemState) -> bool:
        """Whether the item could be given to this annotator now."""
        if state.gold is not None:
            return True
        others = session.scalars(
            select(ReviewClaim.annotator).where(
                ReviewClaim.run_id == claim.key[0],
                ReviewClaim.record_key == claim.key[1],
                ReviewClaim.expires > self.now(),
            )
        )
        taken = {*others, *state.submissions} - {claim.annotator}
        return not state.adjudications and len(taken) < needed(self.config, claim.id)

    def _wants(self, entry: Entry, state: ItemState | None, annotator: str | None) -> bool:
        if not is_open(self.config, entry.id, state):
            return False
        return state is None or annotator is None or not ({annotator} & ({*state.submissions} | state.skipped))

    def _next(
        self,
        annotator: str,
        entries: dict[ItemKey, Entry],
        states: dict[ItemKey, ItemState],
        held: dict[ItemKey, set[str]],
    ) -> Entry | None:
        for key, entry in entries.items():
            state = states.get(key)
            if self._wants(entry, state, annotator):
                taken = held.get(key, set()) | set(state.submissions if state else ())
                if len(taken) < needed(self.config, entry.id):
                    return entry
        return None

    def _gold(
        self,
        annotator: str,
        entries: dict[ItemKey, Entry],
        states: dict[ItemKey, ItemState],
        held: dict[ItemKey, set[str]],
    ) -> Entry | None:
        """A gold item, when it is this annotator's turn for one. Turns, and whose turn brings which, are hashes."""
        seed = self.config.seed
        done = sum((annotator in s.submissions) + (annotator in s.skipped) for s in states.values())
        if chance(seed, "gold turn", annotator, done) >= self.config.gold_share:
            return None
        fresh = [
            entries[key]
            for key, state in states.items()
            if state.gold is not None
            and key in entries
            and not held.get(key)
            and annotator not in state.submissions
            and annotator not in state.skipped
            and annotator != state.gold.author
        ]
        return min(fresh, key=lambda entry: chance(seed, "gold item", annotator, entry.id), default=None)


def _held(claims: Iterable[ReviewClaim]) -> dict[ItemKey, set[str]]:
    held: dict[ItemKey, set[str]] = {}
    for claim in claims:
        held.setdefault((claim.run_id, claim.record_key), set()).add(claim.annotator)
    return held


def _row_of(claim: Claim) -> Delete:
    return delete(ReviewClaim).where(
        ReviewClaim.run_id == claim.key[0],
        ReviewClaim.record_key == claim.key[1],
        ReviewClaim.annotator == claim.annotator,
    )


def _claim(entry: Entry, row: ReviewClaim) -> Claim:
    return Claim(entry.id, entry.key, row.annotator, entry.frames, row.made, row.expires, entry.reason)
