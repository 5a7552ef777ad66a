"""Jobs on this machine. State is files, each job has a supervisor process, nobody else need stay alive."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from workbench.jobs.backend import CHUNK, JobId, JobState, JobStatus, LogChunk, MetricsChunk, UnknownJobError
from workbench.jobs.environment import SUPERVISES, filtered
from workbench.jobs.kinds import find_kind
from workbench.jobs.queue import Capacity
from workbench.jobs.records import SCHEMA, JobFolder, State, all_jobs, jobs_folder, open_jobs, tell_others
from workbench.jobs.spec import JobSpec
from workbench.jobs.tailing import read_log, read_metrics_since
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import explain_disk_errors, wovr_home, write_json

logger = logging.getLogger("wovr.jobs")

_REVIVE_EVERY = 5.0
"""Seconds between attempts to give one job a new supervisor: one that cannot start must not become a storm."""


class LocalBackend:
    """See `JobBackend`. Any number of these, in any processes, may work on one home at a time."""

    name = "local"

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or wovr_home()).absolute()
        self.jobs = jobs_folder(self.home)
        self._revived: dict[str, float] = {}

    def submit(self, spec: JobSpec, key: str) -> JobId:
        """See `JobBackend.submit`."""
        if not key or len(key) > 1024:
            raise WovrError("a job's key must be a text of 1 to 1024 characters")
        # The home is in it: by the id alone a job's processes are found again, and another home may use the same key.
        folder = self._folder(sha256(f"{self.home}\0{key}".encode()).hexdigest()[:12])
        if not folder.exists():
            spec.check()
            Capacity.read(self.jobs).refuse(spec.to_json()["resources"])
            self._create(folder, spec, key)
        found = JobSpec.from_json(folder.job()["spec"])
        if found != spec:
            raise WovrError(
                f"the key {key!r} names job {folder.id} already, with another spec ({_difference(found, spec)}); "
                "choose another key"
            )
        self._supervise(folder)
        return JobId(folder.id)

    def status(self, job: JobId) -> JobStatus:
        """See `JobBackend.status`."""
        return self._status(self._known(job))

    def logs(self, job: JobId, offset: int = 0, limit: int = CHUNK) -> LogChunk:
        """See `JobBackend.logs`."""
        return read_log(self._known(job).log, offset, limit)

    def metrics(self, job: JobId, cursor: Mapping[str, Any] | None = None) -> MetricsChunk:
        """See `JobBackend.metrics`."""
        return read_metrics_since(self.home / "runs" / self._known(job).job()["spec"]["run"], cursor)

    def stop(self, job: JobId) -> None:
        """See `JobBackend.stop`."""
        folder = self._known(job)
        if folder.state().ended:
            return
        folder.ask_to_stop()
        tell_others(self.jobs)
        self._supervise(folder)
        supervisor = folder.state().supervisor
        if supervisor is not None:
            supervisor.signal(signal.SIGUSR1)

    def retry(self, job: JobId) -> None:
        """See `JobBackend.retry`."""
        folder = self._known(job)
        with folder.launching():
            state = folder.state()
            if not state.ended:
                raise WovrError(f"job {job} is {state.state}; only one that has ended can be tried again")
            if state.state == "succeeded":
                raise WovrError(f"job {job} succeeded; submit a new one to do it once more")
            with folder.supervising() as held:  # its last supervisor may still be on its way out
                if not held:
                    raise WovrError(f"job {job} is just ending; try again in a moment")
                folder.forget_stop()
                folder.open()
                folder.write_state(replace(state.queued_again(time.time()), supervisor=None))
        tell_others(self.jobs)
        self._supervise(folder)

    def list(self) -> Sequence[JobStatus]:
        """See `JobBackend.list`."""
        statuses = []
        for folder in all_jobs(self.jobs):
            with contextlib.suppress(CorruptFileError):
                statuses.append(self._status(folder))
        return sorted(statuses, key=lambda status: status.submitted_at, reverse=True)

    def adopt(self) -> Sequence[JobId]:
        """Give a supervisor to every job that has not ended and has none; returns those that needed one.

        The other methods do so too for the jobs that they touch: call it when an app starts.
        """
        found = [folder for folder in open_jobs(self.jobs) if self._revive(folder)]
        return [JobId(folder.id) for folder in found]

    def _folder(self, job: str) -> JobFolder:
        return JobFolder(self.jobs / job)

    def _known(self, job: str) -> JobFolder:
        folder = self._folder(job)
        if not job.isalnum() or not folder.exists():
            raise UnknownJobError(job)
        return folder

    def _create(self, folder: JobFolder, spec: JobSpec, key: str) -> None:
        """Make the folder whole under another name, then rename it: of several submissions one succeeds."""
        now = time.time()
        kind = find_kind(spec.kind)
        job = {
            "schema": SCHEMA,
            "id": folder.id,
            "key": key,
            "spec": spec.to_json(),
            "argv": spec.argv(),
            "stages": list(kind.stages(spec)) if kind.stages else [],
            "finished": kind.finished(spec) if kind.finished else None,
            "submitted_at": now,
        }
        with explain_disk_errors(self.jobs):
            self.jobs.mkdir(parents=True, exist_ok=True)
            draft = JobFolder(Path(tempfile.mkdtemp(dir=self.jobs, prefix=f".{folder.id}.")))
        try:
            write_json(draft.path / "job.json", job)
            draft.write_state(State(queued_at=now))
            folder.open()
            draft.path.rename(folder.path)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)

    def _status(self, folder: JobFolder) -> JobStatus:
        state = folder.state()
        if not state.ended:
            self._revive(folder)
        job = folder.job()
        return JobStatus(
            id=JobId(folder.id),
            spec=JobSpec.from_json(job["spec"]),
            state=JobState(state.state),
            attempt=state.attempt,
            submitted_at=job["submitted_at"],
            queued_at=state.queued_at,
            started_at=state.started_at,
            ended_at=state.ended_at,
            exit_code=state.exit_code,
            reason=state.reason,
            peak_memory_mb=state.peak_memory_mb,
            pid=state.process.pid if state.process and state.state == "running" else None,
            stages=tuple(job["stages"]),
        )

    def _revive(self, folder: JobFolder) -> bool:
        last = self._revived.get(folder.id)
        if folder.supervised() or (last is not None and time.monotonic() - last < _REVIVE_EVERY):
            return False
        self._revived[folder.id] = time.monotonic()
        try:
            return self._supervise(folder)
        except (OSError, WovrError) as error:  # whoever only looks is not to fail of it
            logger.warning("job %s has no supervisor: %s", folder.id, error)
            return False

    def _supervise(self, folder: JobFolder) -> bool:
        """Start a supervisor if the job needs one and has none; returns whether it did. Takes some 50 ms."""
        with folder.launching():
            if folder.state().ended:
                folder.close()
                return False
            if folder.supervised():
                return False
            folder.open()
            environment = filtered(os.environ) | {"WOVR_HOME": str(self.home), SUPERVISES: folder.id}
            command = [sys.executable, "-P", "-m", "workbench.jobs.supervisor", str(folder.path)]
            with explain_disk_errors(folder.path), (folder.path / "supervisor.log").open("ab") as log:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder.path, env=environment
                )
            if done.returncode != 0:
                raise WovrError(f"the supervisor of job {folder.id} did not start; see {folder.path}/supervisor.log")
            return True


def _difference(old: JobSpec, new: JobSpec) -> str:
    before, after = old.to_json(), new.to_json()
    return ", ".join(f"{name} = {before[name]!r}, now {after[name]!r}" for name in after if before[name] != after[name])
