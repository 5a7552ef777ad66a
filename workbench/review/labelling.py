"""What people do on the Review page, with who may do it: labelling for annotators, decisions for operators.

Roles are checked here, whatever a page shows or hides. Nothing is kept between two calls but in the store and in the
runs' logs, so a server that was killed and started again goes on with the same claims. Whatever a browser sends twice
because an answer never reached it happens once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from workbench.review.book import ItemKey, ItemState
from workbench.review.decisions import Decisions
from workbench.review.log import ReviewError
from workbench.review.quality import measure
from workbench.review.queue import Claim, ReviewQueue
from workbench.review.visibility import BlindSpans, is_blind
from workbench.scrubber.span_log import SpanLog, SpanStore
from workbench.server.roles import Role, User
from workbench.store.review_tables import ReviewClaim
from workbench.store.tables import Record, Run

_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Progress:
    """How far one annotator and the queue are."""

    done_today: int
    """Handed in by this annotator since midnight UTC."""
    open: int
    """Items that somebody is still to look at."""
    per_minute: float | None
    """This annotator's items of today over the time between claiming and handing in; None before the first."""

    def to_json(self) -> dict[str, Any]:
        rate = None if self.per_minute is None else round(self.per_minute, 2)
        return {"done_today": self.done_today, "open": self.open, "per_minute": rate}


@dataclass(frozen=True)
class Dispute:
    """One item on which annotators disagree. Names are letters until it is decided."""

    id: str
    frames: int
    sides: tuple[tuple[str, tuple[dict[str, Any], ...]], ...]
    """(letter, or name once decided; spans without ids, authors and times) of each."""
    decided: Mapping[str, Any] | None
    """{by, why, spans} of the latest decision."""

    def to_json(self) -> dict[str, Any]:
        sides = [{"name": name, "spans": list(spans)} for name, spans in self.sides]
        return {"id": self.id, "frames": self.frames, "sides": sides, "decided": self.decided}


class Labelling:
    """All of it over one queue. Every method raises ForbiddenError for a role that does not suffice."""

    def __init__(self, queue: ReviewQueue) -> None:
        self.queue = queue
        self.decisions = Decisions(queue)

    # -- annotators

    def next(self, user: User) -> Claim | None:
        """The next item, or the one that is theirs already; None when nothing is left for them."""
        user.require(Role.ANNOTATOR, "label")
        return self.queue.claim(user.name)

    def renew(self, user: User, record_id: str, made: float) -> Claim:
        """Keep the claim for another lease. Raises ClaimLostError when it has expired."""
        user.require(Role.ANNOTATOR, "label")
        return self.queue.heartbeat(self._claim(user, record_id, made))

    def release(self, user: User, record_id: str) -> None:
        """Give the item back; harmless when it is not theirs any more."""
        user.require(Role.ANNOTATOR, "label")
        self.queue.release(self._claim(user, record_id, self.queue.now()))

    def skip(self, user: User, record_id: str, made: float, why: str) -> None:
        """Pass the item on for good. Raises ReviewError without a reason, ClaimLostError when it is not theirs."""
        user.require(Role.ANNOTATOR, "label")
        claim = self._claim(user, record_id, made)
        if user.name not in self._state(claim.key).skipped:
            self.queue.skip(claim, why)

    def submit(self, user: User, record_id: str, made: float) -> int:
        """The annotator's spans, as they stand in the run's log, are their answer; returns how many they are.

        Raises ClaimLostError when the claim has expired and others have the item.
        """
        user.require(Role.ANNOTATOR, "label")
        claim = self._claim(user, record_id, made)
        before = self._state(claim.key).submissions.get(user.name)
        return len((before or self.queue.submit(claim)).spans)

    def progress(self, user: User) -> Progress:
        """Cheap enough to ask after every item."""
        user.require(Role.ANNOTATOR, "label")
        now = self.queue.now()
        midnight = now - now % _DAY
        with self.queue.store.read() as session:
            states = self.queue.book.states(session)
        lines = [state.submissions[user.name] for state in states.values() if user.name in state.submissions]
        today = [line for line in lines if line.time >= midnight]
        seconds = sum(line.seconds for line in today)
        rate = 60 * len(today) / seconds if seconds > 0 else None
        return Progress(len(today), self.queue.progress()["open"], rate)

    def spans_of(self, user: User, record_id: str, store: SpanStore, log: SpanLog) -> SpanStore:
        """The item's spans as this user may see and edit them: their own alone while the item is labelled blind.

        Args:
            store: all of the item's spans, called by the record's id.
            log: the run's log behind them, which knows who made a span.
        """
        key, _ = self._item(record_id)
        if not is_blind(self.queue.config, record_id, self._state(key), user.name):
            return store
        return BlindSpans(store, log, key[1], user.name)

    # -- operators

    def disputed(self, user: User) -> list[str]:
        """Ids of the items to decide about, in the queue's order; not those that the user has labelled."""
        user.require(Role.OPERATOR, "decide between annotators")
        found = self.decisions.disputed()
        with self.queue.store.read() as session:
            states = self.queue.book.states(session)
        keys = {entry.id: entry.key for entry in self.queue.ranked()}
        return [i for i in found if user.name not in states.get(keys[i], ItemState()).submissions]

    def dispute(self, user: User, record_id: str) -> Dispute:
        """What the annotators marked, side by side. Raises ReviewError for an item that fewer than two labelled, or
        that the user has labelled."""
        user.require(Role.OPERATOR, "decide between annotators")
        key, frames = self._item(record_id)
        state = self._state(key)
        if len(state.submissions) < 2:
            raise ReviewError(f"{record_id} was labelled by {len(state.submissions)}, there is nothing to decide")
        if user.name in state.submissions:
            raise ReviewError(f"{user.name} has labelled {record_id}; a third person must decide")
        decided = state.adjudications[-1] if state.adjudications else None
        names = sorted(state.submissions, key=lambda name: hashlib.sha256(f"{record_id} {name}".encode()).digest())
        sides = tuple(
            (name if decided else chr(ord("A") + n), tuple(_plain(s.to_json()) for s in state.submissions[name].spans))
            for n, name in enumerate(names)
        )
        told: dict[str, Any] | None = None
        if decided is not None:
            spans = [_plain(span.to_json()) for span in decided.spans]
            told = {"by": decided.author, "why": decided.why, "spans": spans}
        return Dispute(record_id, frames, sides, told)

    def adjudicate(self, user: User, record_id: str, spans: Sequence[Mapping[str, Any]], why: str) -> None:
        """See Decisions.adjudicate."""
        user.require(Role.OPERATOR, "decide between annotators")
        self.decisions.adjudicate(record_id, user.name, spans, why)

    def unseen(self, user: User, limit: int = 50) -> list[str]:
        """Ids of the first items of the queue that nobody has met yet: what can be made gold."""
        user.require(Role.OPERATOR, "set known answers")
        entries = self.queue.ranked()
        with self.queue.store.read() as session:
            met = set(self.queue.book.states(session))
            met |= {(claim.run_id, claim.record_key) for claim in session.scalars(select(ReviewClaim))}
        return [entry.id for entry in entries if entry.key not in met][:limit]

    def set_gold(self, user: User, record_id: str, spans: Sequence[Mapping[str, Any]], why: str) -> None:
        """See Decisions.set_gold."""
        user.require(Role.OPERATOR, "set known answers")
        self.decisions.set_gold(record_id, user.name, spans, why)

    def retire_gold(self, user: User, record_id: str, why: str) -> None:
        """See Decisions.retire_gold."""
        user.require(Role.OPERATOR, "retire known answers")
        self.decisions.retire_gold(record_id, user.name, why)

    def gold_from_audit(self, user: User, share: float) -> list[str]:
        """See Decisions.gold_from_audit. Raises ReviewError for a share that is none."""
        user.require(Role.OPERATOR, "set known answers")
        if not 0 < share <= 1:
            raise ReviewError(f"the share of audited rollouts must lie above 0 and not above 1, not at {share:g}")
        return self.decisions.gold_from_audit(share)

    def quality(self, user: User) -> dict[str, Any]:
        """Everybody's quality as JSON, with how many items there are, and the gold among them."""
        user.require(Role.OPERATOR, "see the annotators' quality")
        found = measure(self.queue.book, self.queue.config.seed).to_json()
        with self.queue.store.read() as session:
            states = self.queue.book.states(session)
        ids = {entry.key: entry.id for entry in self.queue.ranked()}
        gold = [
            {"id": ids[key], "by": state.gold.author, "why": state.gold.why, "spans": len(state.gold.spans)}
            for key, state in states.items()
            if state.gold is not None and key in ids
        ]
        return found | {"gold": gold, "queue": self.queue.progress()}

    # -- what a browser names

    def _claim(self, user: User, record_id: str, made: float) -> Claim:
        """The user's claim as far as it is known: the store decides whether it lives. `made` is not trusted far."""
        key, frames = self._item(record_id)
        now = self.queue.now()
        with self.queue.store.read() as session:
            row = session.get(ReviewClaim, (*key, user.name))
            kept = None if row is None else (row.made, row.expires)
        began, expires = kept or (min(max(made, now - _DAY), now), now)
        return Claim(record_id, key, user.name, frames, began, expires, "")

    def _state(self, key: ItemKey) -> ItemState:
        return self.queue.book.states_of(key)

    def _item(self, record_id: str) -> tuple[ItemKey, int]:
        with self.queue.store.read() as session:
            row = session.execute(
                select(Record.run_id, Record.annotation_key, Record.length)
                .join(Run, Run.id == Record.run_id)
                .where(Record.id == record_id, ~Run.missing)
            ).first()
        if row is None:
            raise ReviewError("there is no such item; reload the page")
        return (int(row.run_id), str(row.annotation_key)), int(row.length) + 1


def _plain(span: Mapping[str, Any]) -> dict[str, Any]:
    """A span without who made it when: its id may tell as well, so that goes too."""
    return {name: span[name] for name in ("start", "end", "label", "severity", "note")}
