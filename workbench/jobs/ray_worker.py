"""What Ray runs for a job: `python -m workbench.jobs.ray_worker JOB`, the job's supervisor on the node that was chosen.

It does what a supervisor does on this machine (`workbench.jobs.supervisor`) except wait for its turn, which Ray has
done. Its folder lies on the shared file system, so that how the job ended is known even if Ray forgets it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from workbench.jobs.child import Child, Waker, sweep
from workbench.jobs.processes import adopt_orphans
from workbench.jobs.ray_launch import under_accelerate
from workbench.jobs.records import JobFolder
from workbench.jobs.supervisor import Supervisor
from wovr_core.files import wovr_home

JOBS = "ray_jobs"
"""Folder of the jobs below WOVR_HOME."""
STOP_SEEN_WITHIN = 0.3
"""Seconds: whoever stops the job may be on another machine, and can only leave a file."""
_TURN = 30.0
"""Seconds to wait for the processes of an earlier attempt."""


class _AttentiveWaker(Waker):
    """Wakes often, and not any more once Ray is gone: its processes are our parent and grandparent."""

    def __init__(self) -> None:
        super().__init__()
        self._began_under = _ancestors()

    def wait(self, seconds: float, child: Child | None = None) -> None:
        super().wait(min(seconds, STOP_SEEN_WITHIN), child)
        if _ancestors() != self._began_under:
            raise SystemExit("Ray is gone, and with it the right to go on: another attempt may begin elsewhere")


def _ancestors() -> tuple[int, int]:
    """Pids of the parent and of its parent: of a shell and Ray's own supervisor, or of the latter and the raylet."""
    parent = os.getppid()
    try:
        return parent, int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return parent, 0


class RaySupervisor(Supervisor):
    """A supervisor whose turn has come."""

    def __init__(self, folder: JobFolder) -> None:
        super().__init__(folder)
        self.waker = _AttentiveWaker()
        self.job["argv"] = under_accelerate(self.job["argv"], int(self.job["spec"]["resources"]["gpus"]))

    def _wait_for_turn(self) -> bool:
        while time.time() < self.state.not_before and not self.folder.stop_asked():
            self.waker.wait(self.state.not_before - time.time())
        if self.folder.stop_asked():
            return False
        self.state = replace(self.state, state="running", started_at=time.time(), reason="")
        self.save()
        return True


def guard(job: str) -> None:
    """Fork a process that ends the job's processes when this one is gone: Ray kills its process group only, and what
    began a session of its own would stay. It shares the supervisor's lock, so the next attempt waits for it."""
    alive, held = os.pipe()
    if os.fork():
        os.close(alive)
        return
    os.setsid()
    os.close(held)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(alive, 1)  # returns when the last writer, our parent, is gone
    sweep(job, patience=5.0)
    os._exit(0)


def main() -> int:
    """Returns 0 when the job succeeded, so that Ray says the same."""
    if len(sys.argv) != 2 or not sys.argv[1].isalnum():
        print("usage: ray_worker JOB", file=sys.stderr)
        return 2
    folder = JobFolder(wovr_home() / JOBS / sys.argv[1])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the job would inherit
    signal.signal(signal.SIGTERM, lambda *_: folder.ask_to_stop())
    adopt_orphans()
    with folder.supervising(patience=_TURN) as held:
        if not held:
            print(f"job {folder.id} is being supervised already", file=sys.stderr)
            return 3
        guard(folder.id)
        supervisor = RaySupervisor(folder)
        supervisor.run()
    return 0 if supervisor.state.state == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
