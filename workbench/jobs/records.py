"""A local job's folder, $WOVR_HOME/jobs/ID: what was asked for, how it stands, its log. Files are the only truth.

    job.json         written once: spec, key, argv, what it works in
    state.json       replaced atomically: state, attempt, processes, times, earlier attempts
    log              what its processes print, over all attempts
    stop             there once it has been asked to end
    .supervisor      locked (flock) for as long as its supervisor lives
    .launch          locked while a supervisor is being started or the job is queued anew

jobs/.open/ID marks those that have not ended, and jobs/.changed is touched when what others wait for may have
changed. Only the holder of .supervisor, or of .launch while there is no supervisor, writes state.json.

Supervisors import this module: the standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.jobs.processes import ProcessKey
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import explain_disk_errors, read_json, wovr_home, write_json

SCHEMA = 1
ENDED = frozenset({"succeeded", "failed", "cancelled", "lost"})


@dataclass(frozen=True)
class State:
    """state.json. Times are Unix seconds."""

    state: str = "queued"
    attempt: int = 1
    queued_at: float = 0.0
    """Of this attempt: its place in the queue."""
    not_before: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    peak_memory_mb: float | None = None
    cpu_seconds: float | None = None
    process: ProcessKey | None = None
    """The job's main process."""
    supervisor: ProcessKey | None = None
    history: tuple[dict[str, Any], ...] = field(default=())
    """Earlier attempts: attempt, state, exit_code, reason, started_at, ended_at."""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def queued_again(self, now: float, not_before: float = 0.0, reason: str = "") -> State:
        """The next attempt, waiting."""
        kept = ("attempt", "state", "exit_code", "reason", "started_at", "ended_at", "peak_memory_mb", "cpu_seconds")
        past = {name: getattr(self, name) for name in kept}
        return State(
            attempt=self.attempt + 1,
            queued_at=now,
            not_before=not_before,
            reason=reason,
            supervisor=self.supervisor,
            history=(*self.history, past),
        )


class JobFolder:
    """Reads and writes one job's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.log = path / "log"

    @property
    def home(self) -> Path:
        """The WOVR_HOME that it lies in."""
        return self.path.parent.parent

    def exists(self) -> bool:
        return (self.path / "job.json").is_file()

    def job(self) -> dict[str, Any]:
        """Raises CorruptFileError."""
        found = read_json(self.path / "job.json")
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise CorruptFileError(f"{self.path / 'job.json'} is not a job of this version; delete {self.path}")
        return found

    def complete(self) -> bool:
        """Whether the file is there that its kind calls the evidence of finished work (`JobKind.finished`)."""
        evidence = self.job().get("finished")
        return evidence is not None and (self.home / str(evidence)).is_file()

    def state(self) -> State:
        """Raises CorruptFileError."""
        path = self.path / "state.json"
        values = read_json(path)
        try:
            for name in ("process", "supervisor"):
                values[name] = ProcessKey(*values[name]) if values[name] else None
            return State(**{**values, "history": tuple(values["history"])})
        except (TypeError, KeyError) as error:
            raise CorruptFileError(f"{path} is not the state of a job ({error}); delete {self.path}") from error

    def write_state(self, state: State) -> None:
        values = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
        for name in ("process", "supervisor"):
            values[name] = values[name].to_json() if values[name] else None
        write_json(self.path / "state.json", values)

    # -- asking it to end

    def ask_to_stop(self) -> None:
        with explain_disk_errors(self.path):
            (self.path / "stop").touch()

    def stop_asked(self) -> bool:
        return (self.path / "stop").exists()

    def forget_stop(self) -> None:
        (self.path / "stop").unlink(missing_ok=True)

    # -- who is at work on it

    @contextlib.contextmanager
    def supervising(self, patience: float = 2.0) -> Iterator[bool]:
        """Hold the supervisor's lock; yields False if another supervisor still has it after `patience` seconds."""
        with _opened(self.path / ".supervisor") as descriptor:
            deadline = time.monotonic() + patience  # whoever looks whether it is held, holds it for a moment
            while not (held := _try_lock(descriptor, fcntl.LOCK_EX)) and time.monotonic() < deadline:
                time.sleep(0.02)
            yield held

    def supervised(self) -> bool:
        """Whether a supervisor lives. Looking does not keep one from starting."""
        try:
            descriptor = os.open(self.path / ".supervisor", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def launching(self) -> Iterator[None]:
        """One at a time starts a supervisor or queues the job anew; waits for its turn."""
        with locked(self.path / ".launch"):
            yield

    # -- among the other jobs

    def open(self) -> None:
        """Count it among those that have not ended."""
        folder = self.path.parent / ".open"
        with explain_disk_errors(folder):
            folder.mkdir(exist_ok=True)
            (folder / self.id).touch()

    def close(self) -> None:
        (self.path.parent / ".open" / self.id).unlink(missing_ok=True)


def jobs_folder(home: Path | None = None) -> Path:
    return (home or wovr_home()) / "jobs"


def open_jobs(jobs: Path) -> list[JobFolder]:
    """Those that have not ended, or ended a moment ago."""
    with contextlib.suppress(FileNotFoundError):
        found = [JobFolder(jobs / name) for name in sorted(os.listdir(jobs / ".open"))]
        return [folder for folder in found if folder.exists()]
    return []


def all_jobs(jobs: Path) -> list[JobFolder]:
    with contextlib.suppress(FileNotFoundError):
        found = [JobFolder(jobs / name) for name in sorted(os.listdir(jobs)) if not name.startswith(".")]
        return [folder for folder in found if folder.exists()]
    return []


def tell_others(jobs: Path) -> None:
    """Let those that wait look again. A full disk only makes them later."""
    with contextlib.suppress(OSError):
        (jobs / ".changed").touch()


def changed_at(jobs: Path) -> int:
    try:
        return (jobs / ".changed").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an flock, having waited for it. The kernel lets it go when its holder dies."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def run_is_locked(run: Path) -> bool:
    """Whether some process, a job's or not, works in this run folder (`wovr_core.run_folder.Run`).

    Read from the kernel's list: trying the lock would make a run that begins this very moment fail. Devices are
    not compared, since overlay file systems report others there; a chance equality of inodes only delays a job.
    """
    try:
        inode = (run / ".lock").stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    return any(" FLOCK " in line and f":{inode} " in line for line in locks)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        with explain_disk_errors(path):
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    except FileNotFoundError as error:
        raise WovrError(f"{path.parent} is gone; was the job deleted?") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
