"""Items as rows, and rows as items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from workbench.store.items import REAL, Audit, Item
from workbench.store.run_items import RunFile, named
from workbench.store.tables import AuditRow, CheckpointRow, EpisodeRow, Record, RolloutRow, Run

_FEW = 500
"""Ids in one statement: databases bound the number of parameters."""


def write_items(
    session: Session,
    run_id: int,
    run: Path,
    read: Sequence[tuple[RunFile, Item]],
    digests: Mapping[Path, str | None],
) -> None:
    """Insert the items' rows, in place of those of the same ids. digests: sha256 of files, where known."""
    remove_records(session, [item.id for _, item in read])
    records = [_record(run_id, run, file, item, digests.get(file.path)) for file, item in read]
    if not records:
        return
    session.execute(insert(Record), records)
    good = [item for _, item in read if not item.broken]
    rollouts = [_rollout(item) for item in good if item.kind != REAL]
    if rollouts:
        session.execute(insert(RolloutRow), rollouts)
    episodes = [{"record_id": item.id, "source": item.source, "seed": item.seed} for item in good if item.kind == REAL]
    if episodes:
        session.execute(insert(EpisodeRow), episodes)
    write_audits(session, run, good)


def write_audits(session: Session, run: Path, items: Sequence[Item]) -> None:
    """Insert the rows of the items' audits."""
    audits = [
        {
            "record_id": item.id,
            "replay": str(item.replay.relative_to(run)) if item.replay else None,
            "real_success": item.audit.real_success,
            "threshold": item.audit.threshold,
            "peak": item.audit.peak,
            "peak_frame": item.audit.peak_frame,
            "first_divergent": item.audit.first_divergent,
            "curve": list(item.audit.curve),
        }
        for item in items
        if item.audit is not None
    ]
    if audits:
        session.execute(insert(AuditRow), audits)


def remove_records(session: Session, ids: Sequence[str]) -> None:
    for some in chunks(ids):
        session.execute(delete(Record).where(Record.id.in_(some)))


def items_of(session: Session, ids: Sequence[str]) -> list[Item]:
    """The items of these ids, in this order; ids that there are none of are passed over."""
    found: dict[str, Item] = {}
    for some in chunks(ids):
        found |= {item.id: item for item in _load(session, some)}
    return [found[one] for one in ids if one in found]


def titles_of(session: Session, run_ids: Iterable[int]) -> dict[tuple[str, str], str]:
    """(kind, version) -> what people call it: as in the newest of these runs that holds it."""
    rows = session.execute(
        select(CheckpointRow.kind, CheckpointRow.version, CheckpointRow.title)
        .join(Run, Run.id == CheckpointRow.run_id)
        .where(Run.id.in_(sorted(run_ids)))
        .order_by(Run.made.desc(), CheckpointRow.id)
    )
    titles: dict[tuple[str, str], str] = {}
    for kind, version, title in rows:
        titles.setdefault((kind, version), title)
    return titles


def _load(session: Session, ids: Sequence[str]) -> Iterable[Item]:
    rows = session.execute(
        select(Record, RolloutRow, EpisodeRow, AuditRow, Run.key, Run.path)
        .join(Run, Run.id == Record.run_id)
        .outerjoin(RolloutRow, RolloutRow.record_id == Record.id)
        .outerjoin(EpisodeRow, EpisodeRow.record_id == Record.id)
        .outerjoin(AuditRow, AuditRow.record_id == Record.id)
        .where(Record.id.in_(ids))
    ).all()
    titles = titles_of(session, {row[0].run_id for row in rows})
    for record, rollout, episode, audit, key, path in rows:
        yield _item(record, rollout, episode, audit, key, Path(path), titles)


def _item(
    record: Record,
    rollout: RolloutRow | None,
    episode: EpisodeRow | None,
    audit: AuditRow | None,
    key: str,
    run: Path,
    titles: Mapping[tuple[str, str], str],
) -> Item:
    return Item(
        id=record.id,
        run=key,
        stage=record.stage,
        name=record.name,
        kind=record.kind,
        path=run / record.path,
        stamp=record.stamp,
        suite_task=record.task,
        instruction=record.instruction,
        length=record.length,
        depth=record.depth,
        success=record.success,
        policy=record.policy,
        world_model=record.world_model,
        versions=tuple((str(what), named(str(what), str(value), titles)) for what, value in record.facts),
        policy_version=record.policy_version,
        world_model_version=record.world_model_version,
        group=rollout.group_id if rollout else "",
        start=record.start,
        start_episode=rollout.start_episode if rollout else "",
        start_step=rollout.start_step if rollout else 0,
        reason=record.reason,
        p_success=record.p_success if record.p_success >= 0 else None,
        reward=rollout.reward if rollout else None,
        threshold=rollout.threshold if rollout else None,
        source=episode.source if episode else "",
        seed=episode.seed if episode else 0,
        replay=run / audit.replay if audit and audit.replay else None,
        audit=_audit(audit),
        broken=record.broken,
    )


def _audit(row: AuditRow | None) -> Audit | None:
    if row is None:
        return None
    curve = tuple(float(value) for value in row.curve)
    return Audit(row.real_success, row.threshold, row.peak, row.peak_frame, row.first_divergent, curve)


def _record(run_id: int, run: Path, file: RunFile, item: Item, digest: str | None) -> dict[str, Any]:
    versions = dict(item.versions) if item.kind != REAL else {}
    return {
        "id": item.id,
        "run_id": run_id,
        "stage": item.stage,
        "name": item.name,
        "kind": item.kind,
        "path": str(file.path.relative_to(run)),
        "stamp": item.stamp,
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "sha256": digest,
        "broken": item.broken,
        "annotation_key": item.span_key,
        "task": item.suite_task,
        "instruction": item.instruction,
        "length": item.length,
        "depth": item.depth,
        "success": item.success,
        "p_success": -1.0 if item.p_success is None else item.p_success,
        "policy": item.policy,
        "world_model": item.world_model,
        "policy_version": item.policy_version,
        "world_model_version": item.world_model_version,
        "reward_version": versions.get("reward", ""),
        "keyframes_version": versions.get("keyframes", ""),
        "start": item.start,
        "reason": item.reason,
        "facts": [list(fact) for fact in item.versions],
        "search": search_text(item),
    } | derived(item)


def derived(item: Item) -> dict[str, Any]:
    """The columns that follow from an item's audit and readability."""
    return {
        "depth_range": item.depth_range,
        "outcome": item.outcome,
        "verdict": item.verdict,
        "rank": item.rank,
        "peak": item.audit.peak if item.audit else -1.0,
    }


def search_text(item: Item) -> str:
    return f"{item.id} {item.name} {item.instruction} {item.reason}".casefold()


def _rollout(item: Item) -> dict[str, Any]:
    return {
        "record_id": item.id,
        "group_id": item.group,
        "start_episode": item.start_episode,
        "start_step": item.start_step,
        "reward": item.reward or 0.0,
        "threshold": item.threshold,
    }


def chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[i : i + _FEW] for i in range(0, len(ids), _FEW))
