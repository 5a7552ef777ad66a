"""The contract of whatever runs jobs. `tests/workbench/jobs/test_contract.py` holds every backend to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType, Protocol

from workbench.jobs.spec import JobSpec
from wovr_core.errors import WovrError

JobId = NewType("JobId", str)

CHUNK = 1 << 16
"""Bytes of log that one call returns at most."""


class UnknownJobError(WovrError):
    """No job has this id."""

    def __init__(self, job: str) -> None:
        super().__init__(f"there is no job {job!r}; `wovr jobs list` shows those there are")


class JobState(StrEnum):
    """`lost`: the backend cannot say how it ended (its machine restarted, its cluster forgot it)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True)
class JobStatus:
    """How a job stands. Times are Unix seconds; None: not yet, or not known."""

    id: JobId
    spec: JobSpec
    state: JobState
    attempt: int
    """From 1; a retry adds one."""
    submitted_at: float
    queued_at: float | None = None
    """Of this attempt: equal priorities go by it."""
    started_at: float | None = None
    """Of this attempt."""
    ended_at: float | None = None
    exit_code: int | None = None
    """Of this attempt's process; -n: killed by signal n."""
    reason: str = ""
    """Why it waits, failed or was cancelled, in one line."""
    peak_memory_mb: float | None = None
    """Of the job's processes together, as far as it was sampled."""
    pid: int | None = None
    """Of its main process, where that runs on this machine."""
    stages: tuple[str, ...] = ()
    """What it goes through, in order, as folders of its run; empty: not known."""


@dataclass(frozen=True)
class LogChunk:
    """A piece of a job's log."""

    text: str
    """Whole characters; lines may be cut at either end."""
    next_offset: int
    """Where to go on reading."""
    restarted: bool = False
    """The log was shorter than the offset asked for: this reads from its beginning."""


@dataclass(frozen=True)
class MetricsChunk:
    """New lines of a run's metrics.jsonl files, each a dict with its "stage", "phase", "step" and values."""

    lines: tuple[dict[str, Any], ...]
    cursor: Mapping[str, Any] = field(default_factory=dict)
    """To be handed to the next call; JSON-ready."""
    restarted: tuple[str, ...] = ()
    """Stages whose file was rewritten (steps run again): forget their earlier lines."""


class JobBackend(Protocol):
    """All methods raise UnknownJobError for an id they never gave out, and WovrError for what a user can mend."""

    name: str

    def submit(self, spec: JobSpec, key: str) -> JobId:
        """Queue a job and return at once. Idempotent: submissions of one key are one job, however many.

        Raises UnknownNameError or WovrError when the spec does not pass `JobSpec.check`, cannot ever fit this
        backend's resources, or the key already names a job with another spec.
        """

    def status(self, job: JobId) -> JobStatus: ...

    def logs(self, job: JobId, offset: int = 0, limit: int = CHUNK) -> LogChunk:
        """At most `limit` bytes of what the job has printed, from a byte offset on; empty when there is no more."""

    def metrics(self, job: JobId, cursor: Mapping[str, Any] | None = None) -> MetricsChunk:
        """What its run's metrics.jsonl files gained since the cursor was made (None: everything)."""

    def stop(self, job: JobId) -> None:
        """Ask for the end: at once if queued, else its whole process tree is gone within 10 s, its main process
        having been asked to checkpoint. Returns at once; harmless when repeated and after the end."""

    def retry(self, job: JobId) -> None:
        """Queue one that failed, was cancelled or lost once more; its stages go on from their checkpoints.

        Raises WovrError while it is queued or running, or when it succeeded.
        """

    def list(self) -> Sequence[JobStatus]:
        """All jobs, the newest first."""


def wait(backend: JobBackend, job: JobId, timeout: float, poll: float = 0.05) -> JobStatus:
    """Its status once it has ended. Raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (status := backend.status(job)).state.ended:
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {job} is still {status.state} after {timeout:g} s ({status.reason})")
        time.sleep(poll)
    return status


def follow(backend: JobBackend, job: JobId, offset: int = 0, poll: float = 0.2) -> Iterator[LogChunk]:
    """Its log from `offset` on as it grows, in chunks, until it has ended and all is read."""
    while True:
        ended = backend.status(job).state.ended  # before reading: what it printed last is then read too
        chunk = backend.logs(job, offset)
        offset = chunk.next_offset
        if chunk.text or chunk.restarted:
            yield chunk
        elif ended:
            return
        else:
            time.sleep(poll)


def follow_lines(backend: JobBackend, job: JobId, poll: float = 0.2) -> Iterator[str]:
    """Its log line by line, without line ends; the last one even if it was never finished."""
    rest = ""
    for chunk in follow(backend, job, poll=poll):
        if chunk.restarted:
            rest = ""
        *lines, rest = (rest + chunk.text).split("\n")
        yield from lines
    if rest:
        yield rest


def find(backend: JobBackend, text: str) -> JobId:
    """The job whose id begins with `text`. Raises UnknownJobError, or WovrError when several do."""
    matches = [status.id for status in backend.list() if status.id.startswith(text)] if text else []
    if text in matches:
        return JobId(text)
    if not matches:
        raise UnknownJobError(text)
    if len(matches) > 1:
        raise WovrError(f"several jobs begin with {text!r}: {', '.join(matches)}; give more of the id")
    return matches[0]
