"""How far two annotators agree: Cohen's kappa on frames, and overlap of matched spans.

A frame is flagged, or not, by any span (or by any span of one label); kappa is taken over the frames of all items
that both have looked at (Cohen, Educational and Psychological Measurement 20, 1960). Frames of one item are anything
but independent, so its interval comes from drawing whole items anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.types import BoolArray

MATCH = 0.5
"""Intersection over union from which on two spans count as the same finding."""


class Stretch(Protocol):
    """What is compared of a span: its frames `start` to `end`, both inclusive, and its label."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def label(self) -> str: ...


@dataclass(frozen=True)
class Pair:
    """One item as two people saw it."""

    frames: int
    first: tuple[Stretch, ...]
    second: tuple[Stretch, ...]


@dataclass(frozen=True)
class SpanMatch:
    """Two sets of spans of one item, matched one to one within each label."""

    ious: tuple[float, ...]
    """Of the matched pairs, all above 0."""
    first: int
    second: int
    """How many spans each has."""

    @property
    def same(self) -> int:
        """Pairs that count as the same finding."""
        return sum(iou >= MATCH for iou in self.ious)

    @property
    def f1(self) -> float:
        """2 same / (first + second); 1 where neither has any."""
        return 2 * self.same / (self.first + self.second) if self.first + self.second else 1.0


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa with its interval; NaN where chance alone would agree always (nobody, or everybody, flags all)."""

    value: float
    interval: tuple[float, float]
    frames: int
    items: int


def flagged(spans: Sequence[Stretch], frames: int, label: str | None = None) -> BoolArray:
    """(frames,) whether any span (of this label) covers the frame."""
    mask = np.zeros(frames, dtype=np.bool_)
    for span in spans:
        if label is None or span.label == label:
            mask[max(span.start, 0) : span.end + 1] = True
    return mask


def iou(a: Stretch, b: Stretch) -> float:
    """Frames in both over frames in either, in [0, 1]."""
    both = min(a.end, b.end) - max(a.start, b.start) + 1
    return max(both, 0) / ((a.end - a.start + 1) + (b.end - b.start + 1) - max(both, 0))


def match_spans(first: Sequence[Stretch], second: Sequence[Stretch]) -> SpanMatch:
    """The one-to-one matching of spans of equal labels with the greatest sum of IoU."""
    from scipy.optimize import linear_sum_assignment

    if not first or not second:
        return SpanMatch((), len(first), len(second))
    overlap = np.array([[iou(a, b) if a.label == b.label else 0.0 for b in second] for a in first])
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    found = (float(overlap[i, j]) for i, j in zip(rows, columns, strict=True))
    return SpanMatch(tuple(value for value in found if value > 0), len(first), len(second))


def mean_iou(pairs: Sequence[Pair]) -> float:
    """Mean over all spans of both, an unmatched one counting 0; NaN where there are none.

    A mean over matched pairs alone would reward missing what is hard.
    """
    matches = [match_spans(pair.first, pair.second) for pair in pairs]
    spans = sum(m.first + m.second for m in matches)
    return 2 * sum(sum(m.ious) for m in matches) / spans if spans else math.nan


def frame_kappa(
    pairs: Sequence[Pair],
    generator: np.random.Generator,
    label: str | None = None,
    draws: int = 1000,
    level: float = 0.95,
) -> Kappa:
    """Kappa over the frames of all pairs, with a percentile bootstrap over items.

    Args:
        label: only flags of this label; None: of any.
        draws: of the bootstrap; those in which kappa is undefined are left out.
    """
    if not pairs:
        return Kappa(math.nan, (-1.0, 1.0), 0, 0)
    tables = np.stack([_table(pair, label) for pair in pairs])
    value = float(_kappa(tables.sum(axis=0)))
    frames = int(tables.sum())
    if len(pairs) < 2 or value != value:
        return Kappa(value, (-1.0, 1.0), frames, len(pairs))
    chosen = generator.integers(len(pairs), size=(draws, len(pairs)))
    drawn = _kappa(tables[chosen].sum(axis=1))
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Kappa(value, (-1.0, 1.0), frames, len(pairs))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Kappa(value, (float(low), float(high)), frames, len(pairs))


def _table(pair: Pair, label: str | None) -> npt.NDArray[np.float64]:
    """(2, 2) counts of frames by first (row) and second (column), not flagged and flagged."""
    if pair.frames < 1:
        raise WovrError(f"an item of {pair.frames} frames cannot be compared")
    a, b = (flagged(spans, pair.frames, label) for spans in (pair.first, pair.second))
    return np.array([[(~a & ~b).sum(), (~a & b).sum()], [(a & ~b).sum(), (a & b).sum()]], dtype=np.float64)


def _kappa(tables: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(...,) of (..., 2, 2): (observed - expected) / (1 - expected) agreement."""
    n = tables.sum(axis=(-2, -1))
    observed = np.trace(tables, axis1=-2, axis2=-1) / n
    expected = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
