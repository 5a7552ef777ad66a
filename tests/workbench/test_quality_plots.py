"""What the figures of world models' quality show, read back from their data."""

from __future__ import annotations

import numpy as np

from workbench import quality_plots
from workbench.plots import BLUE, GREY, RED


def test_means_leave_out_what_is_missing_and_lie_within_their_bands() -> None:
    table = np.array([[10.0, 20.0], [12.0, np.nan], [14.0, 22.0]], np.float32)
    figure = quality_plots.closed_loop({"a": table}, [8, 16])
    band, line = figure.data
    assert list(line.x) == [8, 16]
    assert list(line.y) == [12.0, 21.0]
    high, low = np.array(band.y[:2]), np.array(band.y[2:])[::-1]
    assert (low < line.y).all()
    assert (high > line.y).all()
    assert low.min() >= 10
    assert high.max() <= 22


def test_a_difference_is_coloured_only_where_its_interval_leaves_zero_out() -> None:
    values = {"more": [1.0, 1.1, 1.2], "less": [-1.0, -1.1], "unclear": [-1.0, 1.0, 0.5, -0.5]}
    figure = quality_plots.paired({name: np.array(v) for name, v in values.items()}, "D", "dB")
    assert [trace.marker.color for trace in figure.data] == [BLUE, RED, GREY]
    assert [trace.y[0] for trace in figure.data] == ["more", "less", "unclear"]
