"""The store's lineage as a graph to draw: one node a version, placed by what it was made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from workbench.store.checkpoints import Edge
from workbench.store.lineage import ancestors, descendants, edge_of
from workbench.store.rows import titles_of
from workbench.store.tables import LineageRow, Record, Run

LANES: dict[str, str] = {
    "policy": "policies",
    "reward": "reward classifiers",
    "world_model": "world models",
    "keyframes": "keyframes",
    "rollouts": "imagined rollouts",
    "episodes": "real episodes",
    "corrections": "corrections",
}
"""Kind -> what a lane of the drawing is called, from above."""
ONE = {"policy": "policy", "reward": "reward classifier", "world_model": "world model"}
"""Kind -> one of its versions that no stage here has named."""
MOST = 2000
"""Nodes in one drawing; the newest runs' come first."""


@dataclass(frozen=True)
class Place:
    """Where a version was made."""

    run: str
    stage: str


@dataclass
class Node:
    """One version of one kind."""

    kind: str
    version: str
    title: str
    x: float
    """How many steps of making lie before it."""
    y: float
    made: list[Place] = field(default_factory=list)
    """Empty: it came from outside these runs."""
    used: int = 0
    """Rollouts and episodes that carry it."""
    audited: int = 0
    """Audited imagined successes among them."""
    false: int = 0
    """Of those, how many were none in reality."""

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.version}"


@dataclass(frozen=True)
class Graph:
    """What made what."""

    nodes: list[Node]
    """By lane, then from left to right."""
    edges: list[Edge]
    lanes: list[tuple[str, float]]
    """(title, y) of the lanes that hold anything."""
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """For a page; an edge's ends are nodes' ids."""
        return {
            "nodes": [{"id": node.id, **asdict(node)} for node in self.nodes],
            "edges": [
                {"stage": edge.stage, "role": edge.role, "from": f"{edge.parent_kind}:{edge.parent}",
                 "to": f"{edge.child_kind}:{edge.child}"} for edge in self.edges
            ],
            "lanes": [{"title": title, "y": y} for title, y in self.lanes],
            "left_out": self.left_out,
        }  # fmt: skip


def runs_with_lineage(session: Session, runs: Collection[int]) -> list[str]:
    """Keys of the runs in which anything was made from anything, newest first."""
    made = select(LineageRow.run_id).where(LineageRow.run_id.in_(sorted(runs))).distinct()
    rows = session.execute(select(Run.key).where(Run.id.in_(made)).order_by(Run.made.desc(), Run.key))
    return list(rows.scalars())


def version_graph(session: Session, runs: Collection[int], run: str | None = None) -> Graph:
    """Of one run with all that its versions came from and led to elsewhere, or of all runs.

    Args:
        runs: Run.id of those that may be shown.
        run: key of the one that is asked for.
    """
    rows = session.execute(
        select(LineageRow, Run.key).join(Run, Run.id == LineageRow.run_id).where(Run.id.in_(sorted(runs)))
        .order_by(Run.made.desc(), LineageRow.id)
    ).all()  # fmt: skip
    everything = _without_circles([(edge_of(row), key) for row, key in rows])
    if run is not None:
        wanted = _around(session, {edge.child for edge, key in everything if key == run})
        everything = [(edge, key) for edge, key in everything if key == run or edge in wanted]
    made: dict[tuple[str, str], dict[Place, None]] = defaultdict(dict)
    for edge, key in everything:
        made[edge.child_kind, edge.child][Place(key, edge.stage)] = None
    edges = list(dict.fromkeys(edge for edge, _ in everything))
    known = dict.fromkeys(end for edge in edges for end in _ends(edge))
    kept = set(list(known)[:MOST])
    edges = [edge for edge in edges if all(end in kept for end in _ends(edge))]
    titles = titles_of(session, runs)
    nodes = [
        Node(kind, version, titles.get((kind, version), _unnamed(kind, version)), 0, 0,
             list(made.get((kind, version), ())))
        for kind, version in known if (kind, version) in kept
    ]  # fmt: skip
    _count(session, runs, nodes)
    lanes = _place(nodes, edges)
    return Graph(nodes, edges, lanes, len(known) - len(kept))


def _without_circles(edges: list[tuple[Edge, str]]) -> list[tuple[Edge, str]]:
    """All but those of stages that left a version as it was, which would be made from what was made from it.

    Practice that taught nothing, for one, returns the policy that it was given.
    """
    unchanged = {(run, e.stage, *_ends(e)[1]) for e, run in edges if _ends(e)[0] == _ends(e)[1]}
    return [(e, run) for e, run in edges if (run, e.stage, *_ends(e)[1]) not in unchanged]


def _unnamed(kind: str, version: str) -> str:
    """What a version that comes from elsewhere is called."""
    return f"{ONE.get(kind) or LANES.get(kind, kind)} · {version[:8]}"


def _around(session: Session, versions: Iterable[str]) -> set[Edge]:
    found: set[Edge] = set()
    for version in versions:
        found.update(ancestors(session, version), descendants(session, version))
    return found


def _ends(edge: Edge) -> tuple[tuple[str, str], tuple[str, str]]:
    return (edge.parent_kind, edge.parent), (edge.child_kind, edge.child)


def _count(session: Session, runs: Collection[int], nodes: Iterable[Node]) -> None:
    """How often a policy or world model was used, and how often what it imagined as a success was none."""
    columns = {
        "policy": Record.policy_version,
        "world_model": Record.world_model_version,
        "reward": Record.reward_version,
    }
    for kind, column in columns.items():
        counted = select(column, Record.verdict, func.count()).where(Record.run_id.in_(sorted(runs)))
        numbers: dict[str, dict[str, int]] = defaultdict(dict)
        for version, verdict, n in session.execute(counted.group_by(column, Record.verdict)):
            numbers[version][verdict] = n
        for node in nodes:
            if node.kind == kind:
                verdicts = numbers.get(node.version, {})
                node.used = sum(verdicts.values())
                node.false = verdicts.get("false_success", 0)
                node.audited = node.false + verdicts.get("true_success", 0)


def _place(nodes: list[Node], edges: Iterable[Edge]) -> list[tuple[str, float]]:
    """From left to right by the longest way that leads there; lanes from above, as high as they are crowded."""
    parents: dict[str, set[str]] = defaultdict(set)
    for edge in edges:
        parents[f"{edge.child_kind}:{edge.child}"].add(f"{edge.parent_kind}:{edge.parent}")
    depth: dict[str, int] = {}
    for start in nodes:  # without recursion: chains of a long autopilot are deep
        stack, on_way = [start.id], set()
        while stack:
            here = stack[-1]
            on_way.add(here)
            missing = [parent for parent in parents[here] if parent not in depth and parent not in on_way]
            if missing:
                stack.append(missing[0])
                continue
            depth[here] = max((depth[parent] + 1 for parent in parents[here] if parent in depth), default=0)
            on_way.discard(stack.pop())
    lanes, top = [], 0.0
    for kind in [*LANES, *sorted({node.kind for node in nodes} - set(LANES))]:
        own = [node for node in nodes if node.kind == kind]
        columns: dict[int, int] = defaultdict(int)
        for node in own:
            node.x = depth[node.id]
            node.y = top - 0.7 * columns[depth[node.id]]
            columns[depth[node.id]] += 1
        if own:
            lanes.append((LANES.get(kind, kind), top))
            top -= 0.7 * (max(columns.values()) - 1) + 1.3
    order = {kind: n for n, kind in enumerate(LANES)}
    nodes.sort(key=lambda node: (order.get(node.kind, len(order)), node.x, node.y, node.version))
    return lanes
