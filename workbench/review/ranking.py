"""The rollouts of the store in the order in which they deserve a look, and who is to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from workbench.evidence.evidence import Summary
from workbench.evidence.gather import EvidenceStore
from workbench.review.book import ItemKey, ItemState
from workbench.review.scoring import Facts, RankingConfig, expected, reason, score, signals
from workbench.store.items import REAL
from workbench.store.store import Store
from workbench.store.tables import Record, Run
from wovr_core.errors import WovrError
from wovr_core.seeding import derive_seed

_RANGE = float(1 << 63)


@dataclass(frozen=True)
class QueueConfig:
    """Who labels what, and how long a claim lasts."""

    seed: int = 0
    """Decides, with an item's id, what is labelled twice: the same on every machine."""
    double_share: float = 0.2
    """Share of the items that two people label, neither seeing the other's spans."""
    gold_share: float = 0.1
    """Share of an annotator's items whose answer is known."""
    lease_seconds: float = 900.0
    """A claim that is not renewed for so long goes back into the queue."""
    ranking: RankingConfig = field(default_factory=RankingConfig)
    runs: tuple[str, ...] = ()
    """Only rollouts of these runs (their keys); empty: of all."""

    def __post_init__(self) -> None:
        for name in ("double_share", "gold_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise WovrError(f"{name} must lie between 0 and 1, not at {getattr(self, name)}")
        if not self.lease_seconds > 0:
            raise WovrError(f"lease_seconds must be positive, not {self.lease_seconds}")


@dataclass(frozen=True)
class Entry:
    """One rollout in the queue."""

    id: str
    """The record's id in the store."""
    key: ItemKey
    frames: int
    score: float
    signals: Mapping[str, float]
    """Those that are known; see scoring.SIGNALS."""
    reason: str
    """Why it stands where it stands, for people."""

    def to_json(self) -> dict[str, Any]:
        """JSON types only."""
        rounded = {name: round(value, 4) for name, value in self.signals.items()}
        return {"id": self.id, "score": round(self.score, 4), "reason": self.reason, "signals": rounded}


def chance(seed: int, *purpose: str | int) -> float:
    """A number in [0, 1) that depends on these words alone."""
    return min(derive_seed(seed, *purpose) / _RANGE, 1 - 2**-53)


def is_double(config: QueueConfig, record_id: str) -> bool:
    """Whether two people are to label it."""
    return chance(config.seed, "double", record_id) < config.double_share


def needed(config: QueueConfig, record_id: str) -> int:
    """How many people are to label it."""
    return 2 if is_double(config, record_id) else 1


def is_open(config: QueueConfig, record_id: str, state: ItemState | None) -> bool:
    """Whether somebody is still to look at it. Gold is no part of the queue: it is mixed in."""
    if state is None:
        return True
    return state.gold is None and not state.adjudications and len(state.submissions) < needed(config, record_id)


def rank(store: Store, evidence: EvidenceStore, config: QueueConfig) -> list[Entry]:
    """Every readable rollout, most telling first; equals stand in an order that depends on the seed and their ids.

    Raises WovrError for a run that the store does not have.
    """
    with store.read() as session:
        runs = {key: run_id for run_id, key in session.execute(select(Run.id, Run.key).where(~Run.missing))}
    for key in config.runs:
        if key not in runs:
            raise WovrError(f"the store has no run {key!r}; it has {', '.join(sorted(runs)) or 'none'}")
    chosen = sorted(runs[key] for key in config.runs or runs)
    summaries = evidence.summaries(chosen)
    with store.read() as session:
        rows = session.execute(
            select(Record.id, Record.run_id, Record.annotation_key, Record.length).where(
                Record.run_id.in_(chosen), Record.kind != REAL, Record.broken.is_(None)
            )
        ).all()
    facts = {row.id: facts_of(summaries[row.id]) for row in rows if row.id in summaries}
    known = {name: signals(found) for name, found in facts.items()}
    missing = expected(list(known.values()))
    entries = [
        Entry(
            id=row.id,
            key=(row.run_id, row.annotation_key),
            frames=row.length + 1,
            score=score(known[row.id], missing, config.ranking),
            signals=known[row.id],
            reason=reason(facts[row.id]),
        )
        for row in rows
        if row.id in facts
    ]
    return sorted(entries, key=lambda e: (-round(e.score, 9), chance(config.seed, "order", e.id), e.id))


def facts_of(summary: Summary) -> Facts:
    """The part of the evidence that ranks."""
    return Facts(
        imagined_success=summary.imagined_success,
        real_success=summary.real_success,
        seed_rank=summary.disagreement,
        peak=summary.peak,
        first_divergent=summary.first_divergent,
        divergence_threshold=summary.divergence_threshold,
        p_success=summary.p_success,
        reward_threshold=summary.reward_threshold,
    )
