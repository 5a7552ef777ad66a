"""Summaries of evidence as rows of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select

from workbench.evidence.evidence import Summary
from workbench.store.review_tables import EvidenceRow
from workbench.store.rows import chunks
from workbench.store.store import Store
from workbench.store.tables import Record

_SCHEMA = 1
"""Change it with Summary."""


class SummaryRows:
    """Writes them; they are read in one statement with the records that they are about."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, record_id: str, version: str, summary: Summary) -> None:
        """Keep one where it is new. An object-state error that was measured from the same files stays."""
        with self._store.read() as session:
            row = session.get(EvidenceRow, record_id)
            before = read_summary(row.summary) if row and row.version == version else None
        if before is not None and summary.object_excess is None:
            summary = replace(summary, object_excess=before.object_excess, object_version=before.object_version)
        if summary != before:
            self.write([(record_id, version, summary)])

    def write(self, rows: Sequence[tuple[str, str, Summary]]) -> None:
        """(record id, version, summary) of each; records that are gone by now are passed over."""
        if not rows:
            return
        new = {record: {"record_id": record, "version": v, "summary": s.to_json()} for record, v, s in rows}
        with self._store.write() as session:
            for some in chunks(list(new)):
                session.execute(delete(EvidenceRow).where(EvidenceRow.record_id.in_(some)))
                there = session.scalars(select(Record.id).where(Record.id.in_(some))).all()
                if there:
                    session.execute(insert(EvidenceRow), [new[record] for record in there])


def summary_version(stamp: str, signature: str) -> str:
    """Changes with a record's file (its stamp) and with its run's evidence (sources.signature_of)."""
    return f"{_SCHEMA}-{stamp}-{signature}"


def read_summary(value: Mapping[str, Any] | None) -> Summary | None:
    """None of what another version wrote."""
    try:
        return Summary.from_json(value) if value is not None else None
    except TypeError:
        return None
