"""Processes of this machine: told apart for good, found by the job they belong to, ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workbench.jobs.environment import JOB_ID, SUPERVISES

_PR_SET_CHILD_SUBREAPER = 36
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class ProcessKey:
    """A process for good: pids are used again, but not within one boot with the same start time."""

    pid: int
    started: int
    """Clock ticks from boot to its start (field 22 of /proc/PID/stat): no change of the wall clock moves it."""
    boot: str

    @staticmethod
    def of(pid: int) -> ProcessKey | None:
        """None when there is no such process, or only its zombie."""
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else ProcessKey(pid, int(fields[19]), boot_id())

    def alive(self) -> bool:
        return ProcessKey.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal; False when it is gone. The pidfd makes sure that no successor of the pid gets it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except _GONE:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        except _GONE:
            return False
        finally:
            os.close(descriptor)

    def to_json(self) -> list[Any]:
        return [self.pid, self.started, self.boot]


@cache
def boot_id() -> str:
    """Changes with every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """Fields 3 and on of /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except _GONE:
        return None


def adopt_orphans() -> None:
    """Have descendants whose parents die become children of this process, not of init: a subreaper (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def family(job: str, roots: Iterable[int]) -> list[ProcessKey]:
    """The living processes of a job: whose environment names it, and the descendants of `roots` (pids, themselves
    left out unless they carry the mark), wherever their sessions. Other jobs, and supervisors, are left out."""
    parents: dict[int, int] = {}
    marks: dict[int, bool | None] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (fields := _stat(int(entry))) is not None and fields[0] not in "ZX":
            parents[int(entry)] = int(fields[1])
            marks[int(entry)] = _mark(int(entry), job)
    descended = set(roots)
    growing = True
    while growing:
        found = {pid for pid, parent in parents.items() if parent in descended and marks[pid] is not False}
        growing = not found <= descended
        descended |= found
    chosen = {pid for pid, mark in marks.items() if mark} | (descended - set(roots))
    keys = (ProcessKey.of(pid) for pid in sorted(chosen) if pid != os.getpid())
    return [key for key in keys if key is not None]


def _mark(pid: int, job: str) -> bool | None:
    """True: of this job; False: of another, or a supervisor; None: it does not say."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    if any(v.startswith(f"{SUPERVISES}=".encode()) for v in variables):
        return False
    marks = [v for v in variables if v.startswith(f"{JOB_ID}=".encode())]
    return None if not marks else f"{JOB_ID}={job}".encode() in marks


@dataclass(frozen=True)
class Usage:
    """Of several processes together."""

    cpu_seconds: float
    memory_mb: float
    """Resident memory summed; pages that they share count once for each."""


def usage(keys: Iterable[ProcessKey]) -> Usage:
    """What these processes have used; those that are gone count nothing."""
    ticks, pages = 0, 0
    for key in keys:
        with contextlib.suppress(*_GONE):
            fields = _stat(key.pid)
            if fields is not None:
                ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
