"""The index of jobs' folders. The folders are the truth; a job whose folder is gone leaves the index."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select

from workbench.jobs.records import JobFolder, all_jobs
from workbench.store.store import Store
from workbench.store.tables import JobRow
from wovr_core.errors import WovrError

log = logging.getLogger("wovr.store")


def update_jobs(store: Store, jobs: Path) -> int:
    """Bring the rows up to the folders below `jobs`; returns how many jobs there are. Raises StoreError."""
    found = {folder.id: _stamp(folder.path) for folder in all_jobs(jobs)}
    with store.read() as session:
        known = {row.id: row.stamp for row in session.execute(select(JobRow.id, JobRow.stamp))}
    changed = [job for job, stamp in found.items() if known.get(job) != stamp]
    gone = [job for job in known if job not in found]
    rows = [row for job in changed if (row := _row(jobs / job, found[job]))]
    if rows or gone:
        with store.write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_([*gone, *changed])))
            if rows:
                session.execute(insert(JobRow), rows)
    return len(found)


def _stamp(path: Path) -> str:
    times = [file.stat().st_mtime_ns for name in ("job.json", "state.json") if (file := path / name).is_file()]
    return "-".join(map(str, times))


def _row(path: Path, stamp: str) -> dict[str, Any] | None:
    folder = JobFolder(path)
    try:
        job, state = folder.job(), folder.state()
        facts = {
            "key": job["key"],
            "spec": job["spec"],
            "attempt": state.attempt,
            "started_at": state.started_at,
            "ended_at": state.ended_at,
            "exit_code": state.exit_code,
            "reason": state.reason,
        }
        kind, made = str(job["spec"]["kind"]), float(job["submitted_at"])
    except (WovrError, OSError, KeyError, TypeError, ValueError) as error:
        log.warning("the job %s cannot be read: %s", path.name, error)
        return None
    return {
        "id": path.name, "path": str(path), "kind": kind, "state": state.state, "made": made, "stamp": stamp,
        "facts": facts,
    }  # fmt: skip
