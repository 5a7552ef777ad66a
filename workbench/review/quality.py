"""How good annotators are: against known answers, against each other, and how fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy import select

from workbench.review.agreement import Kappa, Pair, frame_kappa, match_spans, mean_iou
from workbench.review.book import ItemKey, ItemState, ReviewBook
from workbench.review.decisions import agree
from workbench.review.log import ReviewLine
from workbench.scrubber.spans import LABELS, Span
from workbench.store.tables import Record
from wovr_core.audit.outcomes import Rate
from wovr_core.seeding import numpy_generator
from wovr_core.statistics import proportion_interval


@dataclass(frozen=True)
class Agreement:
    """Of the items that two or more people have labelled."""

    kappa: Kappa
    """On frames: flagged or not."""
    iou: float
    """agreement.mean_iou; NaN where nobody marked anything."""
    same: Rate
    """Items on which the spans agree, of all."""


@dataclass(frozen=True)
class AnnotatorQuality:
    """One annotator's record."""

    annotator: str
    items: int
    """Handed in, gold included."""
    skipped: int
    hours: float
    """From claims to submissions, added up."""
    gold: Rate
    """Gold items whose labels are right, of those handed in."""
    gold_f1: float
    """Mean over gold items of the spans' F1 against the answer; NaN without any."""
    agreement: Agreement
    """With whoever labelled the same items."""
    overruled: Rate
    """Adjudicated items on which the decision was another, of those adjudicated."""

    @property
    def items_per_hour(self) -> float:
        """NaN before any time was spent."""
        return self.items / self.hours if self.hours > 0 else math.nan

    def to_json(self) -> dict[str, Any]:
        """JSON types only; what is not known is null."""
        low, high = proportion_interval(self.gold.count, self.gold.total)
        return {
            "annotator": self.annotator,
            "items": self.items,
            "skipped": self.skipped,
            "hours": _number(self.hours),
            "items_per_hour": _number(self.items_per_hour),
            "gold": [self.gold.count, self.gold.total],
            "gold_interval": [_number(low), _number(high)],
            "gold_f1": _number(self.gold_f1),
            "agreement": agreement_json(self.agreement),
            "overruled": [self.overruled.count, self.overruled.total],
        }


@dataclass(frozen=True)
class Quality:
    """Everybody's, and how far people agree on the whole."""

    annotators: tuple[AnnotatorQuality, ...]
    agreement: Agreement
    by_label: Mapping[str, Kappa]
    """Label -> kappa on its frames, of the labels that anybody used on a shared item."""

    def to_json(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "annotators": [one.to_json() for one in self.annotators],
            "agreement": agreement_json(self.agreement),
            "by_label": {label: _kappa_json(kappa) for label, kappa in self.by_label.items()},
        }


def measure(book: ReviewBook, seed: int = 0) -> Quality:
    """Of all reviews so far. Items whose file is gone count for speed, but cannot be compared by frame."""
    book.follow()
    with book.store.read() as session:
        states = book.states(session)
        rows = session.execute(
            select(Record.run_id, Record.annotation_key, Record.length).where(
                Record.annotation_key.in_({key for _, key in states})
            )
        ).all()
    frames = {(row.run_id, row.annotation_key): row.length + 1 for row in rows}
    names = sorted({name for state in states.values() for name in ({*state.submissions} | state.skipped)})
    pairs = _pairs(states, frames)
    used = {span.label for _, _, pair in pairs for span in (*pair.first, *pair.second)}
    labels = [label.key for label in LABELS if label.key in used]
    everything = [pair for _, _, pair in pairs]
    return Quality(
        annotators=tuple(_annotator(name, states, pairs, seed) for name in names),
        agreement=_agreement(everything, seed, ""),
        by_label={one: frame_kappa(everything, numpy_generator(seed, "kappa", one), one) for one in labels},
    )


def gold_right(answer: ReviewLine, spans: Sequence[Span]) -> bool:
    """Whether the labels that were given, among those that the answer is about, are the answer's."""
    return {span.label for span in _judged(answer, spans)} == {span.label for span in answer.spans}


def gold_f1(answer: ReviewLine, spans: Sequence[Span]) -> float:
    """F1 of the spans against the answer's, in [0, 1]."""
    return match_spans(answer.spans, _judged(answer, spans)).f1


def _judged(answer: ReviewLine, spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if answer.judged is None or span.label in answer.judged]


def _pairs(states: Mapping[ItemKey, ItemState], frames: Mapping[ItemKey, int]) -> list[tuple[str, str, Pair]]:
    """(first, second, item) of any two people who labelled the same item, gold left out."""
    found = []
    for key, state in sorted(states.items()):
        if key in frames and state.gold is None:
            for a, b in combinations(sorted(state.submissions), 2):
                both = state.submissions[a].spans, state.submissions[b].spans
                found.append((a, b, Pair(frames[key], *both)))
    return found


def _annotator(
    name: str, states: Mapping[ItemKey, ItemState], pairs: Sequence[tuple[str, str, Pair]], seed: int
) -> AnnotatorQuality:
    done = [(state, state.submissions[name]) for state in states.values() if name in state.submissions]
    gold = [(state.gold, line.spans) for state, line in done if state.gold is not None]
    settled = [(state.adjudications[-1].spans, line.spans) for state, line in done if state.adjudications]
    own = [pair if a == name else Pair(pair.frames, pair.second, pair.first) for a, b, pair in pairs if name in (a, b)]
    return AnnotatorQuality(
        annotator=name,
        items=len(done),
        skipped=sum(name in state.skipped for state in states.values()),
        hours=sum(line.seconds for _, line in done) / 3600,
        gold=Rate(sum(gold_right(answer, spans) for answer, spans in gold), len(gold)),
        gold_f1=sum(gold_f1(answer, spans) for answer, spans in gold) / len(gold) if gold else math.nan,
        agreement=_agreement(own, seed, name),
        overruled=Rate(sum(not agree(decision, spans) for decision, spans in settled), len(settled)),
    )


def _agreement(pairs: Sequence[Pair], seed: int, purpose: str) -> Agreement:
    same = sum(match_spans(pair.first, pair.second).f1 == 1 for pair in pairs)
    kappa = frame_kappa(pairs, numpy_generator(seed, "kappa of", purpose))
    return Agreement(kappa, mean_iou(pairs), Rate(same, len(pairs)))


def agreement_json(agreement: Agreement) -> dict[str, Any]:
    """JSON types only."""
    return {
        "kappa": _kappa_json(agreement.kappa),
        "iou": _number(agreement.iou),
        "same": [agreement.same.count, agreement.same.total],
    }


def _kappa_json(kappa: Kappa) -> dict[str, Any]:
    interval = [_number(edge) for edge in kappa.interval]
    return {"value": _number(kappa.value), "interval": interval, "frames": kappa.frames, "items": kappa.items}


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if value != value else round(value, 4)
