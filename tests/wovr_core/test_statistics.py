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
