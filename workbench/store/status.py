"""How the store stands, and whether the files are still what they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from workbench.store.store import Store
from workbench.store.tables import Annotation, AnnotationEvent, AuditRow, Base, CheckpointRow, JobRow, Record, Run
from workbench.store.upgrade import revision
from wovr_core.errors import WovrError
from wovr_core.files import sha256_file

_TABLES: dict[str, type[Base]] = {
    "runs": Run,
    "records": Record,
    "audits": AuditRow,
    "checkpoints": CheckpointRow,
    "annotations": Annotation,
    "annotation events": AnnotationEvent,
    "jobs": JobRow,
}


def status(store: Store) -> dict[str, Any]:
    """{store, revision, bytes (SQLite), counts: {table: rows}, broken: [[id, why]], problems: [[run, why]],
    missing: [run], damage: [what SQLite finds wrong with its file]}
    """
    path = store.database.path
    with store.read() as session:
        counts = {name: int(session.scalar(select(func.count()).select_from(t)) or 0) for name, t in _TABLES.items()}
        broken = session.execute(select(Record.id, Record.broken).where(Record.broken.is_not(None)).order_by(Record.id))
        problems = session.execute(select(Run.key, Run.problem).where(Run.problem.is_not(None)).order_by(Run.key))
        return {
            "store": store.name,
            "revision": revision(session.connection()),
            "bytes": path.stat().st_size if path else None,
            "counts": counts,
            "broken": [list(row) for row in broken],
            "problems": [list(row) for row in problems],
            "missing": list(session.scalars(select(Run.key).where(Run.missing).order_by(Run.key))),
            "damage": store.check(),
        }


@dataclass
class Verification:
    """What `verify` found."""

    checked: int = 0
    first_time: int = 0
    """Files that had no digest yet; they have one now."""
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """(record id, why)"""


def verify(store: Store, on_file: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Read every record's file and compare its sha256 with the one that is kept."""
    found = Verification()
    with store.read() as session:
        rows = session.execute(
            select(Record.id, Record.path, Record.sha256, Run.path)
            .join(Run, Run.id == Record.run_id)
            .where(~Run.missing)
            .order_by(Record.id)
        ).all()
    new: dict[str, str] = {}
    for n, (record, path, kept, run) in enumerate(rows, start=1):
        file = Path(run) / path
        try:
            digest = sha256_file(file)
        except OSError as error:
            found.damaged.append((record, f"{file.name} cannot be read ({error.strerror})"))
        else:
            if kept is None:
                new[record] = digest
            elif kept != digest:
                found.damaged.append((record, f"{file.name} is not what its stage wrote (another sha256)"))
        on_file(n, len(rows))
    with store.write() as session:
        for record, digest in new.items():
            session.execute(update(Record).where(Record.id == record, Record.sha256.is_(None)).values(sha256=digest))
    found.checked, found.first_time = len(rows), len(new)
    return found


def run_keys(store: Store, wanted: list[str]) -> list[str] | None:
    """These runs' names, checked; None for an empty list: all runs. Raises WovrError for one that there is none of."""
    if not wanted:
        return None
    with store.read() as session:
        known = set(session.scalars(select(Run.key)))
    for name in wanted:
        if name not in known:
            raise WovrError(f"the store has no run {name!r}; it has {', '.join(sorted(known)) or 'none'}")
    return wanted
