"""Plotly figures of masked GRPO on one group: returns and advantages, the mask, the clipped surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workbench.plots import BLUE, GREEN, GREY, ORANGE, RED, empty_figure
from wovr_core.rl.grpo_loss import GRPOConfig
from wovr_core.types import CHUNK, BoolArray, FloatArray

if TYPE_CHECKING:
    import plotly.graph_objects as go


def advantages(returns: FloatArray, advantage: FloatArray) -> go.Figure:
    """Per sibling its return, and what it is above or below the group's mean. Both (G,)."""
    figure = empty_figure("Returns and advantages of one group", "sibling", "")
    siblings = [f"{i}" for i in range(len(returns))]
    figure.add_bar(x=siblings, y=returns, name="return R", marker_color=GREY)
    colours = [GREEN if a > 0 else RED for a in advantage]
    figure.add_bar(x=siblings, y=advantage, name="advantage A = R - mean", marker_color=colours)
    figure.add_hline(y=float(np.mean(returns)), line={"color": ORANGE, "dash": "dash"}, annotation_text="mean")
    return figure


def mask(p_success: FloatArray, counted: BoolArray, threshold: float) -> go.Figure:
    """Success probability of each step's frame (G, T) as a heat map, bright; what the mask takes out is white. A mark
    stands where a rollout first succeeds, chunks are divided by lines."""
    figure = empty_figure("What counts: up to and including the first success", "action", "sibling")
    shown = np.where(counted, p_success, np.nan)
    figure.add_heatmap(z=shown, zmin=0, zmax=1, colorscale="Blues", colorbar={"title": "p"})
    success = p_success >= threshold
    rows = np.flatnonzero(success.any(axis=1))
    marker = {"color": RED, "symbol": "star", "size": 12}
    figure.add_scatter(x=success[rows].argmax(axis=1), y=rows, mode="markers", marker=marker, name="first success")
    for head in range(CHUNK, p_success.shape[1], CHUNK):
        figure.add_vline(x=head - 0.5, line={"color": GREY, "width": 0.5})
    figure.update_layout(height=120 + 28 * len(p_success))
    return figure


def surrogate(config: GRPOConfig, ratios: Sequence[float] = tuple(np.linspace(0.4, 1.8, 141))) -> go.Figure:
    """min(rA, clip(r) A) over the ratio r, for an advantage of +1 and of -1: flat where nothing more is to be had."""
    r = np.asarray(ratios)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    figure = empty_figure("The clipped surrogate", "ratio r = π_new / π_old", "objective of one token")
    for colour, advantage in ((GREEN, 1.0), (RED, -1.0)):
        y = np.minimum(r * advantage, np.clip(r, low, high) * advantage)
        figure.add_scatter(x=r, y=y, mode="lines", name=f"A = {advantage:+.0f}", line={"color": colour})
    figure.add_vrect(x0=low, x1=high, fillcolor=BLUE, opacity=0.08, line_width=0)
    return figure


def steps_taken(advantage: FloatArray, change: npt.NDArray[np.floating]) -> go.Figure:
    """Mean change of each sibling's log-probability by an update, against its advantage. Both (G,)."""
    figure = empty_figure("What one update does to each sibling", "advantage", "change of mean log-probability")
    text = [str(i) for i in range(len(advantage))]
    colours = [GREEN if a > 0 else RED for a in advantage]
    figure.add_scatter(
        x=advantage, y=change, mode="markers+text", text=text, textposition="top center", showlegend=False,
        marker={"color": colours, "size": 10},
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    return figure
