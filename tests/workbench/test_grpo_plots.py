"""What the figures of masked GRPO show, read back from their data."""

from __future__ import annotations

import numpy as np
import pytest

from workbench import grpo_plots
from workbench.plots import GREEN, RED
from wovr_core.rl.grpo_loss import GRPOConfig


def test_bars_are_coloured_by_the_sign_of_the_advantage() -> None:
    returns = np.array([1.0, 0.0, 0.5], np.float32)
    figure = grpo_plots.advantages(returns, returns - returns.mean())
    assert list(figure.data[1].marker.color) == [GREEN, RED, RED]
    assert figure.layout.shapes[0].y0 == 0.5


def test_the_mask_hides_what_follows_the_first_success() -> None:
    p = np.full((2, 16), 0.1, np.float32)
    p[1, 5:] = 0.9
    counted = np.ones((2, 16), bool)
    counted[1, 6:] = False
    figure = grpo_plots.mask(p, counted, 0.5)
    shown = np.array(figure.data[0].z, float)
    assert np.isnan(shown[1, 6:]).all()
    assert shown[1, 5] == pytest.approx(0.9)
    assert (list(figure.data[1].x), list(figure.data[1].y)) == ([5], [1])
    assert [line.x0 for line in figure.layout.shapes] == [7.5]


def test_the_surrogate_is_flat_where_the_clip_holds_and_nowhere_else() -> None:
    figure = grpo_plots.surrogate(GRPOConfig(0.2, 0.28), ratios=[0.5, 0.8, 1.0, 1.28, 1.5])
    np.testing.assert_allclose(figure.data[0].y, [0.5, 0.8, 1.0, 1.28, 1.28])
    np.testing.assert_allclose(figure.data[1].y, [-0.8, -0.8, -1.0, -1.28, -1.5])


def test_each_sibling_is_a_point() -> None:
    figure = grpo_plots.steps_taken(np.array([0.5, -0.5], np.float32), np.array([0.01, -0.02]))
    assert list(figure.data[0].text) == ["0", "1"]
    assert list(figure.data[0].y) == [0.01, -0.02]
