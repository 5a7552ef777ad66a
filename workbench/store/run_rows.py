"""A run's own rows: its registration, and what its small files say (checkpoints, lineage, audit)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from workbench.run_data import RunData
from workbench.store.checkpoints import find_checkpoints, find_edges, version_titles
from workbench.store.items import AUDITED, BRANCH, Audit, Item
from workbench.store.rows import derived, items_of, write_audits
from workbench.store.run_items import read_audits
from workbench.store.store import Store
from workbench.store.tables import AuditRow, CheckpointRow, LineageRow, Record, Run
from wovr_core.data.episode_files import SUFFIX
from wovr_core.errors import WovrError
from wovr_core.files import read_json

Titles = Mapping[tuple[str, str], str]
"""(kind, version) -> what people call it."""


def register(store: Store, runs: Sequence[Path]) -> dict[Path, tuple[int, str]]:
    """Run folder -> (id, key); those that the store does not know get a row, named in the order given."""
    rows = _registered(store, runs)
    if len(rows) < len(set(runs)):
        with store.write() as session:
            taken = set(session.scalars(select(Run.key)))
            there = set(session.scalars(select(Run.path)))
            for path in dict.fromkeys(runs):
                if str(path) not in there:
                    key, n = path.name, 2
                    while key in taken:
                        key, n = f"{path.name}~{n}", n + 1
                    taken.add(key)
                    row = Run(key=key, path=str(path), recipe="", wovr="", made=0.0, signature="", missing=False)
                    session.add(row)
        rows = _registered(store, runs)
    return rows


def _registered(store: Store, runs: Sequence[Path]) -> dict[Path, tuple[int, str]]:
    wanted = set(runs)
    with store.read() as session:
        rows = session.execute(select(Run.path, Run.id, Run.key)).all()
    return {Path(path): (run_id, key) for path, run_id, key in rows if Path(path) in wanted}


def known_files(store: Store, run_id: int) -> dict[str, tuple[int, int]]:
    """Path within the run -> (size, modification time in ns) of the files that have rows."""
    with store.read() as session:
        rows = session.execute(
            select(Record.path, Record.size, Record.mtime_ns).where(Record.run_id == run_id)
        )  # fmt: skip
        return {path: (size, mtime) for path, size, mtime in rows}


def signature(run: Path) -> str:
    """Changes with the run's small files: description, stages' outputs, manifests, audit."""
    small = [run / "run.json", run / "audit" / "rows.json", run / "audit" / "episodes", run / "branches" / "rows.json"]
    small += sorted(run.glob("*/outputs.json")) + sorted(run.glob("*/*/manifest.json"))
    stats = [(str(path), stat.st_mtime_ns, stat.st_size) for path in small if (stat := _stat(path))]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]


def update_facts(store: Store, run_id: int, run: Path) -> tuple[dict[str, Audit], Titles]:
    """Takes in the run's small files where any has changed; returns audits by rollout, and what versions are called.

    Raises CorruptFileError, WovrError, KeyError, TypeError, ValueError or AttributeError for a run that is none.
    """
    now = signature(run)
    data = RunData(run)
    audits = read_audits(data)
    checkpoints = find_checkpoints(run)
    titles = version_titles(checkpoints)
    with store.read() as session:
        if session.scalar(select(Run.signature).where(Run.id == run_id)) == now:
            return audits, titles
    edges = find_edges(run, checkpoints)
    made = (run / "run.json").stat().st_mtime
    with store.write() as session:
        session.execute(delete(CheckpointRow).where(CheckpointRow.run_id == run_id))
        session.execute(delete(LineageRow).where(LineageRow.run_id == run_id))
        for found in checkpoints:
            row = {name: getattr(found, name) for name in ("stage", "kind", "version", "path", "title")}
            session.execute(insert(CheckpointRow).values(run_id=run_id, **row))
        if edges:
            session.execute(insert(LineageRow), [{"run_id": run_id, **vars(edge)} for edge in edges])
        _rename(session, run_id, titles)
        _renew_audits(session, run_id, run, audits)
        facts = {name: str(data.description.get(name, "")) for name in ("recipe", "wovr")}
        session.execute(update(Run).where(Run.id == run_id).values(**facts, made=made, signature=now))
    return audits, titles


def with_audit(item: Item, run: Path, audits: Mapping[str, Audit]) -> Item:
    """The item beside what its actions really led to, where that is known."""
    audit = audits.get(item.name) if item.kind in (AUDITED, BRANCH) and not item.broken else None
    replays = run / "audit" / "episodes" if item.kind == AUDITED else run / item.stage / "replays"
    replay = replays / item.path.name
    return replace(item, audit=audit, replay=replay if audit and replay.is_file() else None)


def digests(folder: Path) -> dict[str, str]:
    """File stem -> sha256, of the files that are not younger than the folder's index.json."""
    index = folder / "index.json"
    stat = _stat(index)
    try:
        found = dict(read_json(index)) if stat else {}
    except (WovrError, OSError, TypeError, ValueError):
        return {}
    young = {
        name
        for name in found
        if (file := _stat(folder / f"{name}{SUFFIX}")) is None or (stat and file.st_mtime_ns > stat.st_mtime_ns)
    }
    return {str(name): str(digest) for name, digest in found.items() if name not in young}


def note_problem(store: Store, run_id: int, problem: str | None) -> None:
    """Keep why a run cannot be read as a whole (None: it can), and that its folder is there."""
    with store.read() as session:
        same = session.execute(select(Run.problem, Run.missing).where(Run.id == run_id)).one() == (problem, False)
    if not same:
        with store.write() as session:
            session.execute(update(Run).where(Run.id == run_id).values(problem=problem, missing=False))


def note_missing(store: Store) -> list[str]:
    """Mark the runs whose folders are not there; returns their keys."""
    with store.read() as session:
        rows = session.execute(select(Run.id, Run.key, Run.path, Run.missing).order_by(Run.key)).all()
    gone = {run_id: key for run_id, key, path, _ in rows if not (Path(path) / "run.json").is_file()}
    new = [run_id for run_id, _, _, missing in rows if run_id in gone and not missing]
    if new:
        with store.write() as session:
            session.execute(update(Run).where(Run.id.in_(new)).values(missing=True))
    return list(gone.values())


def _rename(session: Session, run_id: int, titles: Titles) -> None:
    """Records may be older than the manifest that gives their versions a name."""
    columns = {"policy": Record.policy_version, "world_model": Record.world_model_version}
    for (kind, version), title in titles.items():
        if kind in columns:
            records = update(Record).where(Record.run_id == run_id, columns[kind] == version)
            session.execute(records.values({kind: title}))


def _renew_audits(session: Session, run_id: int, run: Path, audits: Mapping[str, Audit]) -> None:
    ids = list(session.scalars(select(Record.id).where(Record.run_id == run_id, Record.kind.in_((AUDITED, BRANCH)))))
    items = [with_audit(item, run, audits) for item in items_of(session, ids)]
    session.execute(delete(AuditRow).where(AuditRow.record_id.in_(select(Record.id).where(Record.run_id == run_id))))
    write_audits(session, run, items)
    for item in items:
        session.execute(update(Record).where(Record.id == item.id).values(**derived(item)))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
