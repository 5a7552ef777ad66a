"""The autopilot's ledger as a graph of versions: what was practised in what, refined from what, promoted or rolled
back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.plots import BLUE, GREEN, GREY, ORANGE, RED
from wovr_core.errors import WovrError

if TYPE_CHECKING:
    import plotly.graph_objects as go

LANES = {"policy": 2.0, "world_model": 1.0, "reward": 0.0}
_COLOURS = {"policy": BLUE, "world_model": GREEN, "reward": ORANGE}


@dataclass(frozen=True)
class Node:
    """One version of one kind, made in a round (0: before the first)."""

    kind: str
    version: str
    round: int
    kept: bool
    """False: refined, found no better, and rolled back."""
    text: str


@dataclass(frozen=True)
class Link:
    """`child` was made from, or practised in, `parent`; both are (kind, version)."""

    parent: tuple[str, str]
    child: tuple[str, str]


def graph_of(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Node], list[Link]]:
    """Nodes and links of a ledger's entries, in the order of the rounds."""
    nodes: dict[tuple[str, str], Node] = {}
    links: dict[Link, None] = {}

    def add(node: Node) -> None:
        nodes.setdefault((node.kind, node.version), node)

    for entry in entries:
        number, used = int(entry["round"]), entry["practised_with"]
        for kind in LANES:
            add(Node(kind, used[kind], 0, True, "at the start"))
        add(Node("policy", entry["policy"], number, True, _policy_text(entry)))
        links |= {Link((kind, used[kind]), ("policy", entry["policy"])): None for kind in LANES}
        for kind, version in entry["candidates"].items():
            kept = bool(entry["promoted"][kind])
            add(Node(kind, version, number, kept, _refined_text(entry, kind, kept)))
            links[Link((kind, used[kind]), (kind, version))] = None
            links[Link(("policy", entry["policy"]), (kind, version))] = None
    return list(nodes.values()), list(links)


def ledger_json(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For a page: {nodes: [{kind, version, round, kept, text}], links: [[kind, version, kind, version]], rounds}.

    A round is {round, policy, drift, error, action, reason, promoted: {kind: kept or rolled back}, spent}.

    Raises:
        WovrError: entries that no autopilot wrote.
    """
    try:
        nodes, links = graph_of(entries)
        rounds = [
            {
                **{key: entry[key] for key in ("round", "policy", "drift", "error", "action", "reason", "spent")},
                "promoted": {kind: bool(entry["promoted"][kind]) for kind in entry["candidates"]},
            }
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WovrError(f"the autopilot's ledger has a line that this version does not understand ({error})") from error
    return {
        "nodes": [{**asdict(node), "text": node.text.replace("<br>", "\n")} for node in nodes],
        "links": [[*link.parent, *link.child] for link in links],
        "rounds": rounds,
    }


def lineage_figure(entries: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Rounds from left to right, one lane a kind; crosses were rolled back. Hovering tells the numbers."""
    import plotly.graph_objects as go

    nodes, links = graph_of(entries)
    at = {(n.kind, n.version): (n.round, LANES[n.kind]) for n in nodes}
    figure = go.Figure()
    x: list[float | None] = []
    y: list[float | None] = []
    for link in links:
        (x0, y0), (x1, y1) = at[link.parent], at[link.child]
        x += [x0, x1, None]
        y += [y0, y1, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False, name="made from"
    )
    for kind, lane in LANES.items():
        for kept in (True, False):
            own = [n for n in nodes if n.kind == kind and n.kept == kept]
            if own:
                figure.add_scatter(
                    x=[n.round for n in own],
                    y=[lane] * len(own),
                    mode="markers+text",
                    text=[n.version[:6] for n in own],
                    textposition="top center",
                    hovertext=[f"{n.version[:12]}<br>{n.text}" for n in own],
                    hoverinfo="text",
                    name=kind.replace("_", " ") if kept else f"{kind.replace('_', ' ')}, rolled back",
                    marker={
                        "size": 14,
                        "color": _COLOURS[kind] if kept else RED,
                        "symbol": "circle" if kept else "x",
                    },
                )
    figure.update_layout(
        title={"text": "PACE on autopilot", "x": 0}, template="simple_white", height=340,
        font={"family": "system-ui, sans-serif", "size": 13}, legend={"orientation": "h", "y": -0.25},
    )  # fmt: skip
    figure.update_xaxes(title="round", dtick=1)
    figure.update_yaxes(tickvals=list(LANES.values()), ticktext=[k.replace("_", " ") for k in LANES], range=[-0.5, 2.6])
    return figure


def _policy_text(entry: Mapping[str, Any]) -> str:
    error = "" if entry["error"] is None else f"<br>world-model error {entry['error']:.2f}"
    spent = f"<br>{entry['spent']} real episodes so far"
    return f"drift {entry['drift']:.3f}{error}<br>{entry['action']}: {entry['reason']}{spent}"


def _refined_text(entry: Mapping[str, Any], kind: str, kept: bool) -> str:
    key = "world_model_error" if kind == "world_model" else "reward_log_loss"
    change = f"{entry['before'][key]:.3f} to {entry['after'][key]:.3f}"
    return f"held-out {key.replace('_', ' ')} {change}<br>{'promoted' if kept else 'rolled back'}"
