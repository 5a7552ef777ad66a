"""The graph of versions: what a policy, world model, reward or set of rollouts was made from, over all runs."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from workbench.store.checkpoints import Edge
from workbench.store.tables import LineageRow


def ancestors(session: Session, version: str) -> list[Edge]:
    """All edges on the ways that lead to this version, the nearest first."""
    return _walk(session, version, towards_parents=True)


def descendants(session: Session, version: str) -> list[Edge]:
    """All edges on the ways that begin at this version, the nearest first."""
    return _walk(session, version, towards_parents=False)


def edge_of(row: LineageRow) -> Edge:
    """The edge without the run that tells of it."""
    return Edge(row.stage, row.child_kind, row.child, row.role, row.parent_kind, row.parent)


def _walk(session: Session, version: str, towards_parents: bool) -> list[Edge]:
    found: dict[Edge, None] = {}
    seen, wave = {version}, [version]
    while wave:
        here = LineageRow.child if towards_parents else LineageRow.parent
        rows = session.scalars(select(LineageRow).where(here.in_(wave)).order_by(LineageRow.id)).all()
        edges = [edge_of(row) for row in rows]
        found |= dict.fromkeys(edges)
        ends = {edge.parent if towards_parents else edge.child for edge in edges}
        wave = sorted(ends - seen)
        seen |= ends
    return list(found)
