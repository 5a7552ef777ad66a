"""Plotly figures of a run. Each function takes plain data and returns a figure; nothing is drawn elsewhere.

Colours are Okabe and Ito's, which colour-blind people tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wovr_core.statistics import proportion_interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
_LAYOUT: dict[str, Any] = {
    "template": "simple_white",
    "margin": {"l": 60, "r": 20, "t": 40, "b": 45},
    "height": 300,
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "legend": {"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"},
}


def curve(
    lines: Sequence[Mapping[str, Any]], keys: Mapping[str, str], title: str, y: str, x: str = "step"
) -> go.Figure:
    """Metrics over steps. keys: metric -> legend; metrics that no line has are left out."""
    figure = empty_figure(title, x, y)
    colours = (BLUE, ORANGE, GREEN, RED)
    for colour, (key, legend) in zip(colours, keys.items(), strict=False):
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            mode = "lines" if len(points) > 12 else "lines+markers"
            figure.add_scatter(x=steps, y=values, name=legend, line={"color": colour}, mode=mode)
    return figure


def closed_loop_quality(quality: Mapping[str, Any]) -> go.Figure:
    """PSNR of the moving region against the number of imagined frames, beside ceiling and floor."""
    figure = empty_figure("World model, closed loop, held-out episodes", "imagined frames", "PSNR of what moves (dB)")
    horizons = quality["horizons"]
    figure.add_scatter(x=horizons, y=quality["psnr_moving"], name="world model", line={"color": BLUE})
    ceiling = [quality["codec_psnr_moving"]] * len(horizons)
    figure.add_scatter(x=horizons, y=ceiling, name="autoencoder alone", line={"color": GREY, "dash": "dot"})
    frozen = quality["frozen_psnr_moving"]
    figure.add_scatter(x=horizons, y=frozen, name="nothing moves", line={"color": ORANGE, "dash": "dash"})
    return figure


def divergence(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Imagined against real frames of every audited rollout, over depth."""
    figure = empty_figure("Imagined against real, the same actions", "imagined frames", "mean |difference| (0-255)")
    named: set[str] = set()
    for row in rows:
        false = row["imagined_success"] and not row["real_success"]
        name = "false success" if false else "other"
        figure.add_scatter(
            y=row["divergence"],
            mode="lines",
            line={"color": RED if false else GREY, "width": 1.6 if false else 0.8},
            opacity=0.9 if false else 0.45,
            name=name,
            legendgroup=name,
            text=row["rollout_id"],
            hoverinfo="text+y",
            showlegend=name not in named,  # once for all lines of its colour
        )
        named.add(name)
    return figure


def success_rates(rates: Mapping[str, tuple[int, int]], title: str) -> go.Figure:
    """Bars with Wilson intervals. rates: label -> (successes, trials)."""
    figure = empty_figure(title, "", "success (%)")
    for colour, (label, (k, n)) in zip((GREY, BLUE, GREEN, ORANGE), rates.items(), strict=False):
        low, high = proportion_interval(k, n)
        rate = 100 * k / n if n else 0
        figure.add_bar(
            x=[label],
            y=[rate],
            marker_color=colour,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * high - rate],
                "arrayminus": [rate - 100 * low],
            },
            text=[f"{k}/{n}"],
            textposition="inside",
            insidetextanchor="start",  # at the bar's foot: the interval is drawn across its top
            showlegend=False,
        )
    figure.update_yaxes(range=[0, 100])
    return figure


def time_spent(seconds: Mapping[str, float]) -> go.Figure:
    """Horizontal bars, in the order of the stages."""
    names = list(seconds)[::-1]
    figure = empty_figure("Where the time went", "seconds", "")
    figure.add_bar(
        x=[seconds[n] for n in names],
        y=names,
        orientation="h",
        marker_color=BLUE,
        text=[f"{seconds[n]:.0f} s" for n in names],
        textposition="auto",
    )
    figure.update_layout(height=60 + 26 * len(names), margin={"l": 150, "r": 20, "t": 40, "b": 45})
    return figure


def empty_figure(title: str, x: str, y: str) -> go.Figure:
    """In the style of all others."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(title={"text": title, "x": 0, "font": {"size": 15}}, **_LAYOUT)
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure
