"""Plotly figures that compare world models episode by episode: means with bootstrap intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.plots import BLUE, GREEN, GREY, ORANGE, RED, empty_figure
from wovr_core.statistics import bootstrap_interval
from wovr_core.types import FloatArray

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", GREY)


def closed_loop(named: Mapping[str, FloatArray], horizons: Sequence[int], seed: int = 0) -> go.Figure:
    """Mean closed-loop PSNR over imagined frames, with the 95 % bootstrap interval over episodes.

    Args:
        named: label -> (episodes, horizons), as `world_model.quality.closed_loop_psnr` gives; NaN is left out.
        seed: of the resampling.
    """
    figure = empty_figure("Closed loop, held-out episodes", "imagined frames", "PSNR of what moves (dB)")
    for colour, (label, table) in zip(COLOURS, named.items(), strict=False):
        columns = [column[np.isfinite(column)] for column in table.T]
        limits = [bootstrap_interval(column, np.random.default_rng(seed)) for column in columns]
        low, high = (list(side) for side in zip(*limits, strict=True))
        band = {"x": [*horizons, *horizons[::-1]], "y": [*high, *low[::-1]], "mode": "lines", "line": {"width": 0}}
        figure.add_scatter(**band, fill="toself", fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False)
        means = [float(column.mean()) if len(column) else None for column in columns]
        figure.add_scatter(x=list(horizons), y=means, name=label, line={"color": colour}, mode="lines+markers")
    return figure


def paired(differences: Mapping[str, FloatArray], title: str, unit: str, seed: int = 0) -> go.Figure:
    """Mean of each label's paired differences (episodes,) with its 95 % bootstrap interval; grey where it holds 0."""
    figure = empty_figure(title, unit, "")
    for label, values in differences.items():
        mean = float(np.mean(values))
        low, high = bootstrap_interval(values, np.random.default_rng(seed))
        colour = GREY if low <= 0 <= high else BLUE if mean > 0 else RED
        error = {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low]}
        marker = {"color": colour, "size": 11}
        figure.add_scatter(x=[mean], y=[label], error_x=error, mode="markers", marker=marker, showlegend=False)
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=120 + 45 * len(differences), margin={"l": 190, "r": 20, "t": 40, "b": 45})
    return figure
