"""Plotly figures of episodes: pictures side by side, actions over time, starts, and what an action does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workbench.film_strips import data_uri
from workbench.plots import BLUE, GREEN, GREY, ORANGE, RED, empty_figure
from wovr_core.types import CHUNK, FPS, FloatArray, Frames

if TYPE_CHECKING:
    import plotly.graph_objects as go

ACTIONS = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
_PURPLE, _SKY = "#CC79A7", "#56B4E9"


def pictures(named: Mapping[str, Frames], width: int = 220) -> go.Figure:
    """Pictures (H, W, 3) u8 in a row, as they are, each under its name; `width` in screen pixels."""
    figure = empty_figure("", "", "")
    for column, (name, picture) in enumerate(named.items()):
        place = {"x": column, "y": 0, "sizex": 0.96, "sizey": 1, "xref": "x", "yref": "y", "yanchor": "bottom"}
        figure.add_layout_image(source=data_uri(np.ascontiguousarray(picture)), **place)
        figure.add_annotation(x=column + 0.48, y=1.02, text=name, showarrow=False, yanchor="bottom")
    figure.update_xaxes(visible=False, range=[0, len(named)])
    figure.update_yaxes(visible=False, range=[0, 1.15])
    margin = {"l": 5, "r": 5, "t": 5, "b": 5}
    figure.update_layout(width=width * len(named) + 10, height=round(1.12 * width) + 10, margin=margin)
    return figure


def actions_over_time(actions: FloatArray, first_success: int | None = None) -> go.Figure:
    """All seven dimensions of an episode's actions (T, A); a vertical line at each chunk's head, and at the success."""
    figure = empty_figure("Actions of one episode", "action (20 a second)", "command")
    colours = (BLUE, ORANGE, GREEN, RED, _PURPLE, _SKY)
    for i, (name, colour) in enumerate(zip(ACTIONS, (*colours, "black"), strict=True)):
        shape = "hv" if name == "gripper" else "linear"
        line = {"color": colour, "shape": shape, "width": 2.4 if name == "gripper" else 1.4}
        shown = True if i < 3 or name == "gripper" else "legendonly"
        figure.add_scatter(y=actions[:, i], name=name, mode="lines", line=line, visible=shown)
    for head in range(0, len(actions) + 1, CHUNK):
        figure.add_vline(x=head - 0.5, line={"color": GREY, "width": 0.5})
    if first_success is not None:
        text = f"success after {first_success / FPS:.1f} s"
        figure.add_vline(x=first_success - 0.5, line={"color": GREEN, "width": 2}, annotation_text=text)
    figure.update_yaxes(range=[-1.1, 1.25])
    return figure


def positions(named: Mapping[str, npt.NDArray[np.float64]], title: str) -> go.Figure:
    """Where something lies, seen from above. named: label -> (n, 2) x and y in metres; shown in cm, x pointing down
    the page as the robot looks at the table."""
    figure = empty_figure(title, "y (cm)", "x (cm)")
    looks = ((ORANGE, "circle"), (BLUE, "x"), (GREEN, "diamond"))
    for (colour, symbol), (label, places) in zip(looks, named.items(), strict=False):
        marker = {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.6}
        figure.add_scatter(x=100 * places[:, 1], y=100 * places[:, 0], mode="markers", name=label, marker=marker)
    figure.update_yaxes(autorange="reversed", scaleanchor="x")
    figure.update_layout(height=360)
    return figure


def response(moved: FloatArray, rows: Sequence[str], columns: Sequence[str], title: str, unit: str) -> go.Figure:
    """What each command (a row) does to each coordinate (a column), as a labelled heat map (R, C)."""
    figure = empty_figure(title, "", "")
    largest = float(np.abs(moved).max()) or 1.0
    figure.add_heatmap(
        z=moved, x=list(columns), y=list(rows), colorscale="RdBu", zmin=-largest, zmax=largest,
        colorbar={"title": unit}, text=[[f"{value:+.2f}" for value in row] for row in moved], texttemplate="%{text}",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure


def over_frames(named: Mapping[str, Sequence[float]], title: str, unit: str) -> go.Figure:
    """Curves over an episode's frames, one for each name."""
    figure = empty_figure(title, "frame", unit)
    for colour, (name, values) in zip((BLUE, ORANGE, GREEN, RED, GREY), named.items(), strict=False):
        figure.add_scatter(y=list(values), name=name, mode="lines", line={"color": colour})
    return figure
