"""The process that does a job's work, as its supervisor sees it: started or adopted, watched, ended."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.jobs.environment import JOB_ATTEMPT, JOB_ID, filtered
from workbench.jobs.processes import ProcessKey, family, usage
from workbench.jobs.records import JobFolder
from workbench.jobs.tailing import last_lines

INTERRUPT_FOR = 5.0
"""Seconds that stages have to finish their step and checkpoint after SIGINT."""
TERMINATE_FOR = 2.0
"""Seconds after SIGTERM; then SIGKILL."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    exit_code: int | None
    reason: str = ""
    failed: bool = False
    lost: bool = False

    @property
    def state(self) -> str:
        return "lost" if self.lost else "failed" if self.failed else "succeeded"


class Waker:
    """Sleeps until a time, a process's end, or a signal (SIGUSR1: something was asked for), whichever is first."""

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        for end in (self._reader, writer):
            end.setblocking(False)
        self._writer = writer
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait(self, seconds: float, child: Child | None = None) -> None:
        watched: list[int | socket.socket] = [self._reader] + ([child.descriptor] if child else [])
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._reader in ready:
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)


class Child:
    """A job's main process."""

    def __init__(self, key: ProcessKey, descriptor: int, folder: JobFolder | None = None) -> None:
        self.key = key
        self.descriptor = descriptor
        """A pidfd: readable once the process has ended."""
        self.exit_code: int | None = None
        """None while it runs, and for one that was adopted."""
        self.cpu_seconds: float | None = None
        self.largest_mb: float | None = None
        """What the largest of its processes took at most, known once it has ended."""
        self._folder = folder

    @staticmethod
    def start(folder: JobFolder, argv: Sequence[str], attempt: int) -> Child:
        """In a session of its own, without input, its output appended to the job's log. Raises OSError."""
        environment = filtered(os.environ)
        environment |= {JOB_ID: folder.id, JOB_ATTEMPT: str(attempt), "PYTHONUNBUFFERED": "1"}
        work = folder.path / "work"
        work.mkdir(exist_ok=True)
        with folder.log.open("ab", buffering=0) as log:
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"== attempt {attempt}, {when}: {shlex.join(argv)}\n".encode())
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=work,
                env=environment,
                start_new_session=True,
            )
        # Nobody has waited for it yet, so the pid is its own even if it has ended already.
        descriptor = os.pidfd_open(process.pid)
        process.returncode = 0  # reaped by `running`, not by subprocess
        key = ProcessKey.of(process.pid) or ProcessKey(process.pid, 0, "")
        return Child(key, descriptor, folder)

    @staticmethod
    def adopt(key: ProcessKey) -> Child | None:
        """One that another supervisor started; None if it is gone."""
        try:
            descriptor = os.pidfd_open(key.pid)
        except OSError:
            return None
        if not key.alive():
            os.close(descriptor)
            return None
        return Child(key, descriptor)

    def running(self) -> bool:
        """Also reaps what has ended among the processes that this one has come to own."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.key.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
                self.cpu_seconds = round(used.ru_utime + used.ru_stime, 3)  # its reaped descendants' included
                self.largest_mb = used.ru_maxrss / 1024
        return self.exit_code is None and not select.select([self.descriptor], [], [], 0)[0]

    def memory_mb(self, job: str) -> float:
        """Of all the job's processes now."""
        return usage({self.key, *family(job, [os.getpid(), self.key.pid])}).memory_mb

    def end(self, job: str, waker: Waker) -> None:
        """SIGINT to its process group, so that it checkpoints; later SIGTERM and SIGKILL to whatever is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.key.pid, signal.SIGINT)  # its session's leader: the group has its pid
        deadline = time.monotonic() + INTERRUPT_FOR
        while self.running() and (left := deadline - time.monotonic()) > 0:
            waker.wait(min(left, 0.5), self)
        sweep(job, TERMINATE_FOR, (self.key,))
        self.running()

    def ended(self) -> Ended:
        """In words. The reason is the last complaint of `wovr` in the log, where there is one."""
        code = self.exit_code
        assert code is not None
        if code == 0:
            return Ended(0)
        if code < 0:
            hint = "; was memory short?" if code == -signal.SIGKILL else ""
            return Ended(code, f"killed by {_signal_name(-code)}{hint}", failed=True)
        lines = last_lines(self._folder.log, 50) if self._folder else []
        said = [line.removeprefix("wovr: ") for line in lines if line.startswith("wovr: ")]
        return Ended(code, said[-1] if said else f"exit code {code}", failed=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sweep(job: str, patience: float, also: Sequence[ProcessKey] = (), grace: float = 0.0) -> int:
    """End every process of a job: SIGTERM, after `patience` seconds SIGKILL. Returns how many there were.

    They are looked for until none is found, since one that dies may have started another. Those that end by
    themselves within `grace` seconds, as Python's own helpers do once their parent is gone, are left to it.
    """
    ended: set[ProcessKey] = set()
    waited = time.monotonic() + grace
    while time.monotonic() < waited and family(job, [os.getpid()]):
        time.sleep(0.05)
    deadline = time.monotonic() + patience
    while True:
        found = {*family(job, [os.getpid()]), *(key for key in also if key.alive())}
        if not found:
            return len(ended - set(also))
        killing = time.monotonic() >= deadline
        for key in found if killing else found - ended:
            key.signal(signal.SIGKILL if killing else signal.SIGTERM)
        ended |= found
        _reap_others(also)
        time.sleep(0.05)


def _reap_others(also: Sequence[ProcessKey]) -> None:
    """Zombies do not count as living, but would fill the table of a supervisor that adopts orphans."""
    if also:
        return  # the main process's exit code is still to be fetched, by `Child.running`
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
