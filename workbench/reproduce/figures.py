"""The studies' rows as plotly figures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots import BLUE, GREEN, GREY, ORANGE, RED, empty_figure
from workbench.reproduce.arms import ARMS, WORLD_MODELS
from workbench.reproduce.results import Row
from workbench.reproduce.tables import LABELS
from wovr_core.statistics import proportion_interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

_OTHERS = (RED, "#CC79A7", "#56B4E9", "#F0E442", "#8C6D31", "#1B9E77", "#7570B3", "#A6761D", "#666666", "#000000")
_KNOWN = {"base": GREY, "grpo_online": ORANGE, "wmpo": GREEN, "wovr": BLUE}
COLOURS = _KNOWN | dict(zip((arm for arm in ARMS if arm not in _KNOWN), _OTHERS, strict=False))
"""An arm's colour, the same in every figure."""
EDGES = (0, 16, 32, 48, 64, 96, 128, 192, 256)
"""Of the depths over which false successes are counted together."""


def arms(rows: Sequence[Row], order: Sequence[str], title: str) -> go.Figure:
    """Real success per suite and arm, with Wilson's intervals."""
    figure = empty_figure(title, "", "success (%)")
    suites = sorted({str(r["suite"]) for r in rows})
    for arm in order:
        counts = []
        for suite in suites:
            own = [r for r in rows if (r["suite"], r["arm"]) == (suite, arm)]
            counts.append((sum(r["successes"] for r in own), sum(r["trials"] for r in own)))
        if any(n for _, n in counts):
            _bars(figure, suites, counts, LABELS.get(arm, arm), COLOURS[arm])
    figure.update_layout(barmode="group", height=380)
    figure.update_yaxes(range=[0, 100])
    return figure


def _bars(figure: go.Figure, x: Sequence[str], counts: Sequence[tuple[int, int]], name: str, colour: str) -> None:
    rates = [100 * k / n if n else None for k, n in counts]
    limits = [proportion_interval(k, n) for k, n in counts]
    figure.add_bar(
        x=list(x),
        y=rates,
        name=name,
        marker_color=colour,
        text=[f"{k}/{n}" if n else "" for k, n in counts],
        textposition="inside",
        insidetextanchor="start",  # at the foot, where the interval's line does not cross it
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * high - (r or 0) for (_, high), r in zip(limits, rates, strict=True)],
            "arrayminus": [(r or 0) - 100 * low for (low, _), r in zip(limits, rates, strict=True)],
        },
    )


def false_success_by_depth(rows: Sequence[Row]) -> go.Figure:
    """Share of imagined successes that fail for real, against the depth at which they were imagined."""
    figure = empty_figure("False successes against rollout depth", "imagined actions up to the success", "false (%)")
    for arm in dict.fromkeys(str(r["arm"]) for r in rows if "depths" in r):
        own = [r for r in rows if r["arm"] == arm and "depths" in r]
        pairs = [(d, f == "1") for r in own for d, f in zip(r["depths"], r["false"], strict=True)]
        x, y, above, below, text = [], [], [], [], []
        for low, high in itertools.pairwise(EDGES):
            inside = [false for depth, false in pairs if low < depth <= high]
            if inside:
                k, n = sum(inside), len(inside)
                bottom, top = proportion_interval(k, n)
                x.append((low + high) / 2)
                y.append(100 * k / n)
                above.append(100 * (top - k / n))
                below.append(100 * (k / n - bottom))
                text.append(f"{k}/{n}")
        if x:
            error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
            label = LABELS.get(arm, arm)
            figure.add_scatter(
                x=x, y=y, error_y=error, text=text, textposition="top right", name=label,
                mode="lines+markers+text", line={"color": COLOURS.get(arm, BLUE)}, cliponaxis=False,
            )  # fmt: skip
    figure.update_layout(showlegend=True)
    figure.update_yaxes(range=[0, 100])
    return figure


def world_models(rows: Sequence[Row], key: str, title: str, unit: str) -> go.Figure:
    """One measure over imagined frames, a line per world model (means over suites and seeds)."""
    figure = empty_figure(title, "imagined frames", unit)
    for colour, variant in zip((BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9"), WORLD_MODELS, strict=False):
        points = []
        for h in sorted({int(r["horizon"]) for r in rows}):
            values = [r[key] for r in rows if (r["variant"], r["horizon"]) == (variant, h) and r.get(key) is not None]
            if values:
                points.append((h, sum(values) / len(values)))
        if points:
            x, y = zip(*points, strict=True)
            figure.add_scatter(x=x, y=y, name=variant.replace("_", " "), line={"color": colour})
    figure.update_xaxes(type="log", tickvals=[64, 128, 256, 512])
    return figure
