import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from wovr_core.errors import WovrError
from wovr_core.statistics import (
    PairedComparison,
    auroc,
    auroc_difference,
    bootstrap_interval,
    compare_paired,
    difference_interval,
    format_rate,
    mcnemar_exact,
    proportion_interval,
    roc_area,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 20), (37, 60), (60, 60)])
def test_wilson_by_its_formula(k, n):
    z, p = 1.959963984540054, k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = proportion_interval(k, n)
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)


def test_no_trials_say_nothing():
    assert proportion_interval(0, 0) == (0.0, 1.0)
    assert "no trials" in format_rate(0, 0)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (20, 20)])
def test_clopper_pearson_inverts_the_binomial_tails(k: int, n: int) -> None:
    low, high = proportion_interval(k, n, "exact")

    def at_least(p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    def at_most(p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    assert low == 0 if k == 0 else at_least(low) == pytest.approx(0.025, rel=1e-6)
    assert high == 1 if k == n else at_most(high) == pytest.approx(0.025, rel=1e-6)
    assert proportion_interval(0, 0, "exact") == (0.0, 1.0)


@pytest.mark.parametrize(
    ("pairs", "limits"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 2635-2650), table II, method 10.
        ((36, 2, 12, 0), (0.0569, 0.3404)),
        ((20, 2, 12, 16), (0.0562, 0.3292)),
    ],
)
def test_paired_difference_against_the_published_table(pairs, limits):
    comparison = PairedComparison(*pairs)
    assert comparison.difference == pytest.approx(0.2)
    assert comparison.interval() == pytest.approx(limits, abs=5e-5)
    mirrored = PairedComparison(pairs[0], pairs[2], pairs[1], pairs[3])
    assert mirrored.interval() == pytest.approx([-limits[1], -limits[0]], abs=5e-5)


def test_independent_difference_against_the_published_table():
    # Newcombe 1998 (873-890), table II: 56/70 against 48/80, method 10.
    assert difference_interval((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval((0, 0), (5, 9)) == (-1.0, 1.0)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (1, 9), (0, 6), (12, 2)])
def test_mcnemar_by_counting_the_tails(b, c):
    n = b + c
    at_most = sum(math.comb(n, i) for i in range(min(b, c) + 1)) / 2**n
    assert mcnemar_exact(b, c) == pytest.approx(min(1.0, 2 * at_most))
    with pytest.raises(WovrError, match="negative"):
        mcnemar_exact(-1, 2)


def test_pairs_are_counted_trial_by_trial():
    first, second = [True, True, False, False, False], [True, False, True, True, False]
    comparison = compare_paired(first, second)
    assert comparison == PairedComparison(both=1, only_first=1, only_second=2, neither=1)
    assert comparison.difference == pytest.approx(0.2)
    assert str(comparison).startswith("+20 points [")
    assert str(comparison).endswith("n = 5 pairs")
    assert str(compare_paired([], [])) == "no pairs"
    with pytest.raises(WovrError, match="same trials"):
        compare_paired([True], [True, False])


def test_paired_interval_covers_what_it_should():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        state = rng.random(60)  # some initial states are harder for both
        first, second = rng.random(60) < 0.3 + 0.3 * state, rng.random(60) < 0.5 + 0.3 * state
        low, high = compare_paired(first, second).interval()
        hits += low <= 0.2 <= high
    assert 0.925 <= hits / 400 <= 0.985


def test_bootstrap_of_a_mean_and_of_clusters():
    rng = np.random.default_rng(0)
    values = rng.normal(2, 1, 400)
    low, high = bootstrap_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap_interval(values, np.random.default_rng(1)) == (low, high)
    clusters = np.repeat(np.arange(8), 50)
    shifted = values + clusters
    narrow, wide = (np.ptp(bootstrap_interval(shifted, np.random.default_rng(1), clusters=c)) for c in (None, clusters))
    assert wide > 3 * narrow
    # Means of clusters of one size, resampled: the same as the plain bootstrap of those means.
    means = [shifted[clusters == c].mean() for c in range(8)]
    assert bootstrap_interval(shifted, np.random.default_rng(5), clusters=clusters) == pytest.approx(
        bootstrap_interval(means, np.random.default_rng(5))
    )
    assert all(math.isnan(v) for v in bootstrap_interval([], rng))


def test_auroc_counts_pairs_and_is_mann_whitney():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.3
    wins = [(p > q) + 0.5 * (p == q) for p in scores[positive] for q in scores[~positive]]
    found = auroc(scores, positive)
    assert found.value == roc_area(scores, positive) == pytest.approx(np.mean(wins))
    assert math.isnan(roc_area(scores, np.zeros(80, dtype=bool)))
    u = mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert found.value == pytest.approx(u / (positive.sum() * (~positive).sum()))
    assert (found.positives, found.negatives) == (positive.sum(), (~positive).sum())
    assert found.interval[0] < found.value < found.interval[1]


def test_auroc_interval_is_about_the_bootstraps():
    rng = np.random.default_rng(4)
    positive = np.repeat([True, False], 150)
    scores = rng.normal(positive * 1.0, 1)
    areas = []
    for _ in range(600):
        chosen = np.concatenate([rng.integers(0, 150, 150), rng.integers(150, 300, 150)])
        areas.append(auroc(scores[chosen], positive[chosen]).value)
    assert auroc(scores, positive).interval == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.012)


def test_auroc_at_the_edges():
    perfect = auroc([1, 2, 3, 4, 5, 6], [False] * 3 + [True] * 3)
    assert perfect.value == 1
    assert 0.4 < perfect.interval[0] < 0.9
    assert perfect.interval[1] == 1
    reversed_ = auroc([6, 5, 4, 3, 2, 1], [False] * 3 + [True] * 3)
    assert reversed_.interval == pytest.approx([0, 1 - perfect.interval[0]])
    assert math.isnan(auroc([1, 2], [True, True]).value)
    single = auroc([1.0, 2.0, 3.0], [False, True, False])
    assert single.interval[0] < 0.5 < single.interval[1]
    with pytest.raises(WovrError, match="finite"):
        auroc([math.nan], [True])
    with pytest.raises(WovrError, match="one score per case"):
        auroc([1.0, 2.0], [True])


def test_paired_areas_share_their_cases():
    rng = np.random.default_rng(6)
    positive = np.repeat([True, False], 100)
    base = rng.normal(positive * 1.0, 1)
    difference, low, high = auroc_difference(base, base, positive)
    assert (difference, low, high) == (0, 0, 0)
    better = base + positive * 0.8
    difference, low, high = auroc_difference(base, better, positive)
    assert difference == pytest.approx(auroc(better, positive).value - auroc(base, positive).value)
    assert 0 < low < difference < high
    # Pairing pays: as independent scores the interval would be wider.
    unpaired = np.ptp(auroc(base, positive).interval)
    assert high - low < unpaired
