"""Kappa and span overlap, against independent computations."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from workbench.review.agreement import Pair, flagged, frame_kappa, iou, match_spans, mean_iou


@dataclass(frozen=True)
class S:
    start: int
    end: int
    label: str = "other"


def random_spans(rng: np.random.Generator, frames: int) -> tuple[S, ...]:
    starts = rng.integers(0, frames, rng.integers(0, 5))
    return tuple(
        S(int(a), int(min(a + rng.integers(0, 8), frames - 1)), str(rng.choice(["other", "teleports"]))) for a in starts
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("label", [None, "teleports"])
def test_kappa_is_sklearns(seed: int, label: str | None) -> None:
    rng = np.random.default_rng(seed)
    pairs = [Pair(n, random_spans(rng, n), random_spans(rng, n)) for n in (9, 17, 33)]
    a, b = (
        np.concatenate(
            [
                [any(s.start <= k <= s.end and label in (None, s.label) for s in spans) for k in range(n)]
                for spans, n in of
            ]
        )
        for of in ([(p.first, p.frames) for p in pairs], [(p.second, p.frames) for p in pairs])
    )
    found = frame_kappa(pairs, rng, label)
    with np.errstate(invalid="ignore"):
        wanted = cohen_kappa_score(a, b)
    assert found.value == pytest.approx(wanted, nan_ok=True)
    assert (found.frames, found.items) == (59, 3)


def test_kappa_is_one_zero_and_unknown() -> None:
    rng = np.random.default_rng(0)
    half = (S(0, 4),)
    same = frame_kappa([Pair(10, half, half)] * 3, rng)
    assert (same.value, same.interval) == (1.0, (1.0, 1.0))
    assert frame_kappa([Pair(4, (S(0, 1),), (S(0, 0), S(2, 2)))], rng).value == 0.0
    assert math.isnan(frame_kappa([Pair(10, (), ())], rng).value), "chance alone agrees always"
    assert math.isnan(frame_kappa([], rng).value)


def test_the_interval_is_that_of_items_drawn_anew_and_repeats() -> None:
    rng = np.random.default_rng(5)
    pairs = [Pair(40, spans, spans if i % 3 else random_spans(rng, 40)) for i in range(30)
             if (spans := random_spans(rng, 40))]  # fmt: skip
    first, second = (frame_kappa(pairs, np.random.default_rng(1)) for _ in range(2))
    assert first == second
    low, high = first.interval
    assert low < first.value < high
    drawn = []
    other = np.random.default_rng(2)
    for _ in range(400):
        sample = [pairs[i] for i in other.integers(len(pairs), size=len(pairs))]
        flags = [np.concatenate([flagged(spans, 40) for spans in side])
                 for side in ([p.first for p in sample], [p.second for p in sample])]  # fmt: skip
        drawn.append(cohen_kappa_score(*flags))
    assert first.interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)


def test_iou_counts_frames_inclusively() -> None:
    assert iou(S(0, 9), S(5, 14)) == pytest.approx(5 / 15)
    assert iou(S(3, 3), S(3, 3)) == 1
    assert iou(S(0, 4), S(5, 9)) == 0


@pytest.mark.parametrize("seed", range(12))
def test_the_matching_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_spans(rng, 20), random_spans(rng, 20)

    def overlap(x: S, y: S) -> float:
        one, two = set(range(x.start, x.end + 1)), set(range(y.start, y.end + 1))
        return len(one & two) / len(one | two) if x.label == y.label else 0.0

    short, long = sorted((a, b), key=len)
    best = max(
        sum(overlap(x, y) for x, y in zip(short, order, strict=True))
        for order in itertools.permutations(long, len(short))
    )
    assert sum(match_spans(a, b).ious) == pytest.approx(best)


def test_unmatched_spans_cost() -> None:
    one, other = S(0, 9), S(20, 29)
    assert match_spans((one, other), (one,)).f1 == pytest.approx(2 / 3)
    assert mean_iou([Pair(40, (one, other), (one,))]) == pytest.approx(2 / 3)
    assert match_spans((one,), (S(0, 9, "teleports"),)).f1 == 0, "another label is another finding"
    assert match_spans((), ()).f1 == 1
    assert math.isnan(mean_iou([Pair(40, (), ())]))
