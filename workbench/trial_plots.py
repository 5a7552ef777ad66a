"""Plotly figures of evaluations: what counts say, how many trials are needed, what peeking costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench import plots
from wovr_core.robots.evaluation.power import power
from wovr_core.robots.evaluation.statistics import Rate

if TYPE_CHECKING:
    import plotly.graph_objects as go

_WIDTHS = ((6, plots.BLUE), (2, plots.ORANGE))


def both_intervals(counts: Mapping[str, tuple[int, int]], title: str = "Success, with two 95 % intervals") -> go.Figure:
    """A row for each label: the rate, Wilson's interval (thick) and Clopper and Pearson's (thin).

    counts: label -> (successes, trials).
    """
    figure = plots.empty_figure(title, "success (%)", "")
    names = ("Wilson", "Clopper-Pearson")
    rates = {label: Rate(k, n, 0, 0) for label, (k, n) in counts.items()}
    for i, (name, (width, colour)) in enumerate(zip(names, _WIDTHS, strict=True)):
        x: list[float | None] = []
        y: list[float | None] = []
        for row, rate in enumerate(rates.values()):
            low, high = rate.exact if i else rate.wilson
            x += [100 * low, 100 * high, None]
            y += [row - 0.12 * i, row - 0.12 * i, None]
        figure.add_scatter(x=x, y=y, mode="lines", name=name, line={"width": width, "color": colour})
    seen = [(row, rate) for row, rate in enumerate(rates.values()) if rate.trials]
    figure.add_scatter(
        x=[100 * rate.successes / rate.trials for _, rate in seen], y=[row for row, _ in seen], mode="markers",
        name="k / n", marker={"size": 11, "color": "black", "symbol": "diamond"},
    )  # fmt: skip
    ticks = [f"{label} ({rate.successes}/{rate.trials})" for label, rate in rates.items()]
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[-0.6, len(ticks) - 0.4])
    figure.update_xaxes(range=[-1, 101])
    figure.update_layout(height=140 + 55 * len(ticks), margin={"l": 150})
    return figure


def power_curves(
    pairs: Mapping[str, tuple[float, float]], trials: Sequence[int], alpha: float = 0.05, wanted: float = 0.8
) -> go.Figure:
    """Power of Barnard's test over the trials of each policy. pairs: legend -> both true rates."""
    lines = [{"step": n} | {key: power(rates, n, alpha) for key, rates in pairs.items()} for n in trials]
    title = f"Probability of finding the difference (Barnard, alpha = {alpha:g})"
    figure = plots.curve(lines, {key: key for key in pairs}, title, "power", x="trials of each policy")
    _level(figure, trials[0], trials[-1], wanted, f"{wanted:.0%}")
    figure.update_yaxes(range=[0, 1.12])
    return figure


def false_alarms(curves: Mapping[str, Sequence[float]], alpha: float) -> go.Figure:
    """Share of evaluations of two *equal* policies that have said "different" after each block.

    curves: legend -> (B,) as `robots.evaluation.power.rejected_by` gives.
    """
    blocks = max(len(curve) for curve in curves.values())
    lines = [
        {"step": i + 1} | {key: float(curve[i]) for key, curve in curves.items() if i < len(curve)}
        for i in range(blocks)
    ]
    title = "Two equal policies, looked at after every pair of trials"
    figure = plots.curve(lines, {key: key for key in curves}, title, "false alarms so far", x="pairs of trials")
    _level(figure, 1, blocks, alpha, f"alpha = {alpha:g}")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _level(figure: go.Figure, first: float, last: float, level: float, name: str) -> None:
    figure.add_scatter(
        x=[first, last], y=[level, level], mode="lines", name=name, line={"color": plots.GREY, "dash": "dash"}
    )
