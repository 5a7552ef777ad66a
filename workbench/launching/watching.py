"""A job as people watch it: state, place in the queue, progress, the log's end, curves, for any number of tabs.

Nothing is remembered between looks: each is made from the files, so that a refresh or a second tab shows the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.jobs.backend import JobBackend, JobId, JobState, JobStatus, MetricsChunk
from workbench.jobs.progress import NOT_CURVES, RunProgress, is_number

CURVE_POINTS = 240
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class WatchConfig:
    """How much of a job one look carries."""

    tail: int = 24_000
    """Characters of log at first."""
    chunk: int = 64_000
    """Bytes of log that one call reads."""
    calls: int = 512
    """Calls at most to reach a log's end."""


def job_row(status: JobStatus, user: str, position: int | None) -> dict[str, Any]:
    """What a list of jobs shows of one: JSON only."""
    return {
        "id": status.id,
        "state": str(status.state),
        "kind": status.spec.kind,
        "recipe": status.spec.recipe,
        "run": status.spec.run,
        "changes": list(status.spec.overrides),
        "parameters": dict(status.spec.parameters),
        "resources": {k: v for k, v in status.spec.to_json()["resources"].items() if v},
        "priority": status.spec.priority,
        "retries": status.spec.retries,
        "attempt": status.attempt,
        "submitted_at": status.submitted_at,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
        "exit_code": status.exit_code,
        "reason": status.reason,
        "peak_memory_mb": status.peak_memory_mb,
        "user": user,
        "position": position,
    }


def queue_positions(statuses: Sequence[JobStatus]) -> dict[str, int]:
    """Job -> its place among those that wait, from 1: by priority, then by time, as the queue admits them.

    A later attempt stands where it was queued again, not where its job was once submitted.
    """
    waiting = [s for s in statuses if s.state == JobState.QUEUED]
    ordered = sorted(waiting, key=lambda s: (-s.spec.priority, s.queued_at or s.submitted_at, s.id))
    return {s.id: n for n, s in enumerate(ordered, 1)}


def job_rows(statuses: Sequence[JobStatus], users: Mapping[str, str]) -> list[dict[str, Any]]:
    """The newest first."""
    places = queue_positions(statuses)
    return [job_row(s, users.get(s.id, ""), places.get(s.id)) for s in statuses]


class JobLook:
    """Looks at jobs.

    Args:
        runs: the folder of runs that the backend works in.
    """

    def __init__(self, backend: JobBackend, runs: Path, config: WatchConfig | None = None) -> None:
        self._backend, self._runs = backend, runs
        self._config = config or WatchConfig()

    def take(self, job: JobId, offset: int | None, digest: str) -> dict[str, Any]:
        """{stages, progress, log: {text, next, restarted}, digest, curves or None where the digest is current}.

        Args:
            offset: where the caller's log ends; None: it has none yet and wants the end of it.

        Raises:
            UnknownJobError.
        """
        status = self._backend.status(job)
        chunk = self._backend.metrics(job)
        found = curves(chunk)
        now = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
        return {
            "stages": self._stages(status),
            "progress": self._progress(status, chunk),
            "log": self._log(job, offset),
            "digest": now,
            "curves": None if digest == now else found,
        }

    def _progress(self, status: JobStatus, chunk: MetricsChunk) -> dict[str, Any]:
        progress = RunProgress(self._runs / status.spec.run, status.stages)
        progress.add(chunk)
        now = progress.now()
        running = status.state == JobState.RUNNING
        return {
            "stage": now.stage,
            "phase": now.phase,
            "done": now.done,
            "stages": now.stages,
            "step": now.step,
            "total": now.total,
            "fraction": now.fraction,
            "seconds_left": now.seconds_left if running else None,
        }

    def _stages(self, status: JobStatus) -> list[dict[str, str]]:
        run = self._runs / status.spec.run

        def state(name: str) -> str:
            if (run / name / "outputs.json").is_file():
                return "done"
            return "begun" if (run / name / "config.json").is_file() else "to do"

        return [{"name": name, "state": state(name)} for name in status.stages]

    def _log(self, job: JobId, offset: int | None) -> dict[str, Any]:
        limit = self._config.chunk
        if offset is not None:
            chunk = self._backend.logs(job, offset, limit)
            return {"text": _plain(chunk.text), "next": chunk.next_offset, "restarted": chunk.restarted}
        text, at = "", 0
        for _ in range(self._config.calls):
            chunk = self._backend.logs(job, at, limit)
            if chunk.next_offset == at:
                break
            at = chunk.next_offset
            text = (text + chunk.text)[-self._config.tail :]
        return {"text": _plain(text), "next": at, "restarted": True}


def curves(chunk: MetricsChunk) -> list[dict[str, Any]]:
    """[{stage, phase, name, steps, values}] of every number that the metrics hold, thinned evenly to 240 points."""
    found: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    for line in chunk.lines:
        step = line.get("step")
        if not is_number(step):
            continue
        for name, value in line.items():
            if name not in NOT_CURVES and is_number(value):
                steps, values = found.setdefault((line["stage"], str(line.get("phase", "")), name), ([], []))
                steps.append(step)
                values.append(value)
    return [
        {"stage": stage, "phase": phase, "name": name, "steps": _thinned(steps), "values": _thinned(values)}
        for (stage, phase, name), (steps, values) in found.items()
    ]


def _thinned(values: list[float]) -> list[float]:
    """First and last are kept."""
    n = len(values)
    if n <= CURVE_POINTS:
        return values
    return [values[round(i * (n - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)]


def _plain(text: str) -> str:
    """Without a terminal's colours; of a line that was drawn over itself, the last state."""
    lines = _TERMINAL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines)
