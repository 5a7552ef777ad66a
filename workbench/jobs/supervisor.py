"""A job's supervisor: `python -m workbench.jobs.supervisor FOLDER` detaches itself, waits for the job's turn,
starts it, sees it to its end, records how it ended, and starts it again where the spec says so.

One light process per job (standard library only), independent of whoever submitted it and of other supervisors.
If it is killed itself the job runs on, and the next supervisor goes on from the files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from workbench.jobs.child import Child, Ended, Waker, sweep
from workbench.jobs.processes import ProcessKey, adopt_orphans
from workbench.jobs.queue import look
from workbench.jobs.records import JobFolder, State, changed_at, locked, tell_others
from wovr_core.errors import WovrError

BAD_INPUT = 2
"""The exit code of `wovr` for what only the user can mend: not tried again."""
LOOK_EVERY = 0.1
"""Seconds between looks at the time stamp of jobs/.changed while waiting."""
LOOK_ANYWAY_EVERY = 5.0
"""Seconds after which a waiting supervisor looks at the other jobs even if none said that it changed."""
SAMPLE_EVERY = 10.0
"""Seconds between samples of the job's memory."""
LONGEST_PAUSE = 60.0
"""Seconds at most between an attempt and the next; the first pause is 2, then it doubles."""


class Supervisor:
    """Sees one job through. Its folder's supervisor lock must be held."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.jobs = folder.path.parent
        self.job = folder.job()
        self.state: State = replace(folder.state(), supervisor=ProcessKey.of(os.getpid()))
        self.waker = Waker()

    def run(self) -> None:
        """Until the job has ended for good."""
        if self.state.ended:
            return
        child = self._left_running() if self.state.state == "running" else None
        while not self.state.ended:
            if child is None and not self._wait_for_turn():
                self._end("cancelled", None, "cancelled while it waited")
                return
            child = child or self._start()
            if child is not None:
                self._see_through(child)
            child = None

    # -- waiting

    def _wait_for_turn(self) -> bool:
        """Claims the job's turn in the queue; False when it is asked to stop first."""
        seen, looked = -1, 0.0
        while not self.folder.stop_asked():
            stamp, now = changed_at(self.jobs), time.time()
            due = self.state.not_before and now >= self.state.not_before > looked
            if stamp != seen or due or not 0 <= now - looked < LOOK_ANYWAY_EVERY:
                seen, looked = stamp, now
                try:
                    if self._claim():
                        return True
                except (OSError, WovrError) as error:  # a full disk, a damaged record: it may be mended
                    complain(str(error))
            self.waker.wait(LOOK_EVERY)
        return False

    def _claim(self) -> bool:
        with locked(self.jobs / ".queue"):
            reason = look(self.jobs, time.time()).get(self.folder.id, "")
            if not reason and not self.folder.stop_asked():
                self.state = replace(self.state, state="running", started_at=time.time(), reason="")
                self.save()
                return True
        if reason != self.state.reason:
            self.state = replace(self.state, reason=reason)
            self.save()
        return False

    # -- running

    def _start(self) -> Child | None:
        try:
            child = Child.start(self.folder, self.job["argv"], self.state.attempt)
        except OSError as error:
            self._finish_attempt(Ended(None, f"it could not be started: {error}", failed=True))
            return None
        self.state = replace(self.state, process=child.key)
        self.save()
        return child

    def _left_running(self) -> Child | None:
        """What an earlier supervisor had claimed or started, if it is still there."""
        if self.state.process is None:  # killed between claiming and starting, or just after starting
            sweep(self.folder.id, patience=2.0)
            self.state = replace(self.state, state="queued", started_at=None)
            return None
        child = Child.adopt(self.state.process)
        if child is None:
            self._finish_attempt(self._unseen())
        return child

    def _unseen(self) -> Ended:
        if self.folder.complete():
            return Ended(None, "its supervisor was killed, so its exit code is not known; its outputs are complete")
        return Ended(None, "neither it nor its supervisor was there any more: was the machine restarted?", lost=True)

    def _see_through(self, child: Child) -> None:
        next_sample = time.monotonic() + 1.0
        while child.running():
            if self.folder.stop_asked():
                child.end(self.folder.id, self.waker)
                break
            if time.monotonic() >= next_sample:
                self._saw_memory(child.memory_mb(self.folder.id))
                next_sample = time.monotonic() + SAMPLE_EVERY
            self.waker.wait(max(0.0, next_sample - time.monotonic()), child)
        left = sweep(self.folder.id, patience=2.0, grace=1.0)
        if left:
            self.folder_says(f"ended {left} process{'' if left == 1 else 'es'} that it had left behind")
        ended = child.ended() if child.exit_code is not None else self._unseen()
        self.state = replace(self.state, cpu_seconds=child.cpu_seconds)
        if child.largest_mb is not None:  # it may have ended before the first sample
            self._saw_memory(child.largest_mb)
        self._finish_attempt(ended)

    def _saw_memory(self, megabytes: float) -> None:
        self.state = replace(self.state, peak_memory_mb=round(max(megabytes, self.state.peak_memory_mb or 0.0), 1))

    def folder_says(self, line: str) -> None:
        """A line of ours in the job's log."""
        with contextlib.suppress(OSError), self.folder.log.open("a") as log:
            log.write(f"== {line}\n")

    # -- ending

    def _finish_attempt(self, ended: Ended) -> None:
        if self.folder.stop_asked() and not (ended.exit_code == 0 and self.folder.complete()):
            self._end("cancelled", ended.exit_code, "")
        elif ended.state == "succeeded":
            self._end("succeeded", ended.exit_code, ended.reason)
        elif self.state.attempt <= self.job["spec"]["retries"] and ended.exit_code != BAD_INPUT:
            now = time.time()
            pause = min(LONGEST_PAUSE, 2.0**self.state.attempt)
            done = replace(self.state, state=ended.state, exit_code=ended.exit_code, reason=ended.reason, ended_at=now)
            self.state = done.queued_again(now, now + pause, f"attempt {done.attempt} failed: {ended.reason}")
            self.save()
            tell_others(self.jobs)
        else:
            self._end(ended.state, ended.exit_code, ended.reason)

    def _end(self, state: str, exit_code: int | None, reason: str) -> None:
        self.state = replace(self.state, state=state, exit_code=exit_code, reason=reason, ended_at=time.time())
        self.folder_says(f"{state}" + (f": {reason}" if reason else ""))
        self.save()
        with contextlib.suppress(OSError):
            self.folder.close()
        tell_others(self.jobs)

    def save(self) -> None:
        """Write the state, for as long as it takes: what happened must not be lost to a disk that is full."""
        pause = 0.5
        while True:
            try:
                self.folder.write_state(self.state)
                return
            except (OSError, WovrError) as error:
                if not self.folder.path.is_dir():
                    raise SystemExit(f"{self.folder.path} was deleted") from error
                complain(f"{error}; trying again")
                time.sleep(pause)
                pause = min(30.0, 2 * pause)


def complain(text: str) -> None:
    """Into supervisor.log, if there is room."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Detach, take the supervisor's lock (or leave it to who has it), and see the job through."""
    folder = JobFolder(Path(sys.argv[1]))
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(ready, 1) else 1)  # empty when the supervisor died before it had its lock
    os.close(ready)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the job would inherit
    signal.signal(signal.SIGTERM, lambda *_: folder.ask_to_stop())
    adopt_orphans()
    with folder.supervising() as held:
        supervisor = Supervisor(folder) if held else None
        if supervisor is not None and not supervisor.state.ended:
            supervisor.save()
        os.write(tell, b"1")
        os.close(tell)
        if supervisor is not None:
            supervisor.run()


if __name__ == "__main__":
    main()
