"""Jobs in words: what a preflight found, how long a job took."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.jobs.backend import JobStatus
    from workbench.jobs.preflight import Preflight


def preflight_text(found: Preflight) -> str:
    """The preflight as a person reads it."""
    lines = [f"run {found.run} ({'exists' if found.exists else 'new'}), {found.folder}"]
    for plan in found.stages:
        if plan.plan in ("kept", "refused"):
            note = "finished, kept" if plan.plan == "kept" else plan.basis
        else:
            note = f"{duration(plan.seconds)}  {plan.basis}"
        lines.append(f"  {plan.name:20s} {plan.plan:8s} {note}")
    unknown = f", without {', '.join(found.unknown)} (not measured yet)" if found.unknown and found.seconds else ""
    disk = "unknown" if found.disk_mb is None else f"about {found.disk_mb:,.0f} MB"
    memory = "unknown" if found.memory_mb is None else f"{found.memory_mb:,.0f} MB"
    lines += [
        f"time    {duration(found.seconds)}{unknown}",
        f"disk    {disk} ({found.free_disk_mb:,.0f} MB free)",
        f"memory  {memory} ({found.memory_basis})",
    ]
    lines += [f"note:   {warning}" for warning in found.warnings]
    lines += [f"REFUSED: {refusal}" for refusal in found.refusals]
    return "\n".join(lines)


def duration(seconds: float | None) -> str:
    """Rounded for people: 12 s, 7 min, 3.1 h."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def job_time(status: JobStatus) -> str:
    """How long its attempt has run, or ran."""
    if status.started_at is None:
        return "-"
    return duration((status.ended_at or time.time()) - status.started_at)


def job_record(status: JobStatus) -> dict[str, Any]:
    """JSON-ready."""
    return {**asdict(status), "spec": status.spec.to_json()}
