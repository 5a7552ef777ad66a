"""Tests and intervals against independent computations, and the sequential test's errors by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import barnard_exact

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.sequential import e_process, rejection_rate, sequential_test
from wovr_core.robots.evaluation.statistics import Rate, barnard, difference


def barnard_by_hand(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Largest probability, over a grid of common rates, of a table whose pooled z is as large as the seen one."""
    (k, n), (j, m) = first, second

    def z(a: int, b: int) -> float:
        pooled = (a + b) / (n + m)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        return 0.0 if spread == 0 else abs(a / n - b / m) / spread

    tables = [(a, b) for a in range(n + 1) for b in range(m + 1) if z(a, b) >= z(k, j) - 1e-9]
    grid = np.linspace(0.001, 0.999, 999)
    total = np.zeros_like(grid)
    for a, b in tables:
        total += math.comb(n, a) * math.comb(m, b) * grid ** (a + b) * (1 - grid) ** (n + m - a - b)
    return float(total.max())


@pytest.mark.parametrize(
    "counts", [((3, 8), (7, 8)), ((0, 5), (5, 5)), ((14, 30), (28, 30)), ((6, 8), (7, 19)), ((8, 14), (1, 1))]
)
def test_barnard_equals_its_definition(counts: tuple[tuple[int, int], tuple[int, int]]) -> None:
    assert barnard(*counts) == pytest.approx(barnard_by_hand(*counts), rel=2e-3)
    assert barnard(*counts) == pytest.approx(barnard(counts[1], counts[0]), rel=1e-6)
    (k, n), (j, m) = counts
    assert barnard(*counts) >= barnard_exact([[k, j], [n - k, m - j]]).pvalue - 1e-6  # scipy misses peaks now and then


def test_barnard_where_nothing_differs() -> None:
    assert barnard((0, 5), (0, 5)) == 1.0
    assert barnard((5, 5), (3, 3)) == 1.0
    assert barnard((0, 0), (3, 3)) == 1.0
    with pytest.raises(WovrError, match="cannot be"):
        barnard((6, 5), (0, 5))


def test_the_papers_experiment_as_it_would_be_reported() -> None:
    before, after = Rate(14, 30, 0, 0), Rate(28, 30, 0, 0)  # Pick Banana, 46.7 -> 93.3 %
    assert before.wilson == pytest.approx((0.302, 0.639), abs=1e-3)
    assert after.exact == pytest.approx((0.779, 0.992), abs=1e-3)
    assert barnard((14, 30), (28, 30)) < 0.001
    delta, low, high = difference((14, 30), (28, 30))
    assert delta == pytest.approx(14 / 30)
    assert 0.2 < low < delta < high < 0.7


def test_an_e_value_by_hand() -> None:
    # First block: both rates are guessed 1/2, so the e-value is 1. Second, after (1, 0): a = 1.18/1.36, b = 0.18/1.36.
    a, b = 1.18 / 1.36, 0.18 / 1.36
    result = sequential_test([(True, False), (True, False)], 0.05)
    assert result.e_values == pytest.approx((1.0, a * (1 - b) / 0.25))
    assert result.p_value == pytest.approx(1 / result.e_values[1])
    assert result.stopped_at is None


def test_the_e_value_does_not_know_which_policy_is_which() -> None:
    blocks = np.random.default_rng(3).random((50, 20, 2)) < (0.4, 0.8)
    np.testing.assert_allclose(e_process(blocks), e_process(blocks[..., ::-1]), rtol=1e-12)


def test_each_e_value_has_an_expectation_of_at_most_one_under_equal_rates() -> None:
    """Exactly, over all histories of four blocks: the property on which everything rests."""
    histories = np.array(np.meshgrid(*[[False, True]] * 8, indexing="ij")).reshape(8, -1).T.reshape(-1, 4, 2)
    running = e_process(histories)
    for rate in (0.02, 0.3, 0.5, 0.85, 0.999):
        odds = np.where(histories, rate, 1 - rate).prod(axis=(1, 2))
        expectations = (odds[:, None] * running).sum(0)
        assert (expectations <= 1 + 1e-12).all()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_looking_after_every_block_keeps_the_type_one_error(rate: float) -> None:
    error, _ = rejection_rate((rate, rate), 60, 0.05, np.random.default_rng(11), repetitions=4000)
    assert error <= 0.05  # 0.05 would be 200 of 4000; it is far below


def test_a_large_difference_is_found_early() -> None:
    power, blocks = rejection_rate((0.467, 0.933), 60, 0.05, np.random.default_rng(5), repetitions=2000)
    assert power > 0.9
    assert blocks < 35
    with pytest.raises(WovrError, match="alpha"):
        sequential_test([], 1.5)
