"""What a set of corrections says of which frame, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench import plots
from wovr_core.data.corrections import CorrectionSet
from wovr_core.world_model.corrected_windows import weighted_sequences

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROWS = {"reward: no success": 0.3, "reward: success": 0.3, "masked in RL": 0.0, "world model, drawn more often": -0.3}
_COLOURS = {
    "reward: no success": plots.RED,
    "reward: success": plots.GREEN,
    "masked in RL": plots.GREY,
    "world model, drawn more often": plots.BLUE,
}


def timeline(corrections: CorrectionSet) -> go.Figure:
    """A row for each corrected rollout; which of its frames the reward, RL and the world model treat differently.

    For the world model the bar covers the steps at whose windows the real replay is drawn more often.
    """
    figure = plots.empty_figure("What becomes of the flags", "frame of the rollout", "")
    ends = {c.rollout: len(corrections.rollout(c.rollout).frames) - 1 for c in corrections.corrections}
    bars: dict[str, list[tuple[int, int, float]]] = {kind: [] for kind in _ROWS}
    for row, correction in enumerate(corrections.corrections):
        for label in correction.labels:
            kind = "reward: success" if label.success else "reward: no success"
            bars[kind].append((label.first, label.last, row))
        if correction.masked_from is not None:
            bars["masked in RL"].append((correction.masked_from, ends[correction.rollout], row))
        if correction.window is not None:
            bars["world model, drawn more often"].append((correction.window.first, correction.window.last, row))
    for kind, offset in _ROWS.items():
        x = [value for first, last, _ in bars[kind] for value in (first, last, None)]
        y = [value for *_, row in bars[kind] for value in (row + offset, row + offset, None)]
        line = {"width": 9, "color": _COLOURS[kind]}
        figure.add_scatter(x=x, y=y, mode="lines", name=kind, line=line, connectgaps=False)
    names = [_short(name) for name in ends]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[-0.7, len(names) - 0.3])
    figure.update_xaxes(range=[-1, max(ends.values(), default=1) + 1])
    figure.update_layout(
        height=180 + 70 * len(names), margin={"l": 150, "b": 90}, legend={"y": -0.35, "x": 0, "xanchor": "left"}
    )
    return figure


def window_weights(corrections: CorrectionSet, rollout: str) -> go.Figure:
    """How often the world model's window at each step of one rollout's real replay is drawn, beside 1 of an episode."""
    order = [c.rollout for c in corrections.corrections if c.window and corrections.replay(c.rollout) is not None]
    sequence = weighted_sequences(corrections)[order.index(rollout)]
    lead = len(sequence.weights) - len(corrections.rollout(rollout).frames)
    lines = [{"step": i - lead, "weight": float(weight)} for i, weight in enumerate(sequence.weights)]
    title = "World model: how often each window of the real replay is drawn"
    figure = plots.curve(lines, {"weight": "weight"}, title, "weight", x="step of the window's newest context frame")
    figure.update_traces(line_shape="hv", mode="lines")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:6]}...{name[-9:]}"
