"""Figures of evaluations say what was counted."""

from __future__ import annotations

import pytest

from workbench.trial_plots import both_intervals, false_alarms, power_curves
from wovr_core.robots.evaluation.power import power
from wovr_core.statistics import proportion_interval


def test_both_intervals_stand_for_every_rate() -> None:
    traces = {t.name: t for t in both_intervals({"before": (14, 30), "after": (28, 30), "none": (0, 0)}).data}
    low, high = proportion_interval(28, 30)
    assert traces["Wilson"].x[3:5] == pytest.approx((100 * low, 100 * high))
    low, high = proportion_interval(14, 30, "exact")
    assert traces["Clopper-Pearson"].x[0:2] == pytest.approx((100 * low, 100 * high))
    assert list(traces["k / n"].x) == pytest.approx([100 * 14 / 30, 100 * 28 / 30])
    assert tuple(traces["Wilson"].x[6:8]) == (0, 100)  # nothing is known without trials


def test_power_and_its_wanted_level() -> None:
    figure = power_curves({"large": (0.2, 0.9), "small": (0.5, 0.6)}, [5, 15], wanted=0.8)
    traces = {t.name: t for t in figure.data}
    assert list(traces["large"].y) == pytest.approx([power((0.2, 0.9), 5), power((0.2, 0.9), 15)])
    assert set(traces) == {"large", "small", "80%"}


def test_false_alarms_over_the_blocks() -> None:
    figure = false_alarms({"peeking": [0.0, 0.1, 0.2], "sequential": [0.0, 0.01]}, 0.05)
    traces = {t.name: t for t in figure.data}
    assert list(traces["peeking"].y) == [0.0, 0.1, 0.2]
    assert list(traces["sequential"].x) == [1, 2]
    assert tuple(traces["alpha = 0.05"].y) == (0.05, 0.05)
