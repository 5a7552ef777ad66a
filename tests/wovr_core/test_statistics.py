import math

import pytest

from wovr_core.statistics import format_rate, proportion_interval


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
