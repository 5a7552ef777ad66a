"""Jobs on a Ray cluster whose nodes share this file system.

A job's folder ($WOVR_HOME/ray_jobs/ID) is laid out as on one machine; Ray chooses the node, reserves the resources
and starts the job's supervisor there (`ray_worker`). What Ray was told, and whether it said yes, is in
submission.json: that makes submitting safe to repeat, and tells a job that Ray forgot from one it never had.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workbench.jobs.backend import JobId, JobState, JobStatus
from workbench.jobs.environment import SUPERVISES
from workbench.jobs.kinds import module_command
from workbench.jobs.local import LocalBackend
from workbench.jobs.ray_client import (
    CLUSTER,
    RayClient,
    RayError,
    RayJob,
    RayUnreachableError,
    Submission,
    read_token,
)
from workbench.jobs.ray_cluster import cluster_folder, find_cluster
from workbench.jobs.ray_worker import JOBS
from workbench.jobs.records import JobFolder, State, open_jobs
from workbench.jobs.spec import JobSpec
from wovr_core.errors import WovrError
from wovr_core.files import fingerprint, read_json, wovr_home, write_json

PASSED = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "OMP_NUM_THREADS", "LP_NUM_THREADS", "WANDB_MODE", "WANDB_PROJECT")
"""Variables that go along with a job. Nothing secret: whoever has the cluster's token can read them."""
FORCED_AFTER = 8.0
"""Seconds that a job has to end by itself; then Ray kills it."""


@dataclass(frozen=True)
class HandedOver:
    """submission.json: what Ray was told."""

    id: str
    attempt: int
    accepted: bool = False


class RayBackend(LocalBackend):
    """See `JobBackend`. Any number of these, on any machines that share the home, may work at a time.

    Args:
        home: WOVR_HOME, on the shared file system.
        client: of the cluster; None finds it: RAY_API_SERVER_ADDRESS, else the one started in this home.
        patience: seconds without an answer after which jobs count as lost, for as long as there is none.

    Raises:
        WovrError: there is no cluster, no token for it, or it takes requests without one.
    """

    name = "ray"

    def __init__(self, home: Path | None = None, client: RayClient | None = None, patience: float = 15.0) -> None:
        super().__init__(home or wovr_home())
        self.jobs = self.home / JOBS
        self.client = client or find_client(self.home)
        self.patience = patience
        self._silent_since: float | None = None
        with contextlib.suppress(RayUnreachableError):  # what was submitted can be read without it
            self.client.require_token_auth()

    def submit(self, spec: JobSpec, key: str) -> JobId:
        """See `JobBackend.submit`."""
        self.client.require_token_auth()
        capacity = self.client.capacity()
        capacity.refuse(spec.to_json()["resources"], CLUSTER)
        self.jobs.mkdir(parents=True, exist_ok=True)
        capacity.write(self.jobs)
        return super().submit(spec, key)

    def stop(self, job: JobId) -> None:
        """See `JobBackend.stop`."""
        folder = self._known(job)
        super().stop(job)
        with folder.launching():
            state, handed = folder.state(), self._handed_over(folder)
            if state.state == "queued" and not folder.supervised():
                self._end(folder, state, "cancelled", "cancelled while it waited")
        if handed is not None and not folder.state().ended:
            timer = threading.Timer(FORCED_AFTER, self._force, (folder, handed.id))
            timer.daemon = True
            timer.start()
        elif handed is not None:
            with contextlib.suppress(RayError):
                self.client.stop(handed.id)

    def adopt(self) -> Sequence[JobId]:
        """Hand over what Ray never confirmed; returns those. Ray itself keeps the others going."""
        return [JobId(folder.id) for folder in open_jobs(self.jobs) if self._supervise(folder)]

    def _force(self, folder: JobFolder, submission: str) -> None:
        with contextlib.suppress(WovrError):
            if not folder.state().ended:
                self.client.stop(submission)

    def _status(self, folder: JobFolder) -> JobStatus:
        note, lost = self._settle(folder)
        status = super()._status(folder)
        if status.state.ended or not note:
            return status
        return replace(status, state=JobState.LOST if lost else status.state, reason=note)

    def _revive(self, folder: JobFolder) -> bool:
        return False  # `_settle` has looked

    def _supervise(self, folder: JobFolder) -> bool:
        """Hand the job to Ray if it waits and Ray has not got it; returns whether that was so."""
        with folder.launching():
            state = folder.state()
            return not state.ended and self._hand_over(folder, state)

    # -- what Ray knows

    def _settle(self, folder: JobFolder) -> tuple[str, bool]:
        """Bring the job's state in line with Ray; returns a remark and whether the job counts as lost for now."""
        if folder.state().ended:
            return "", False
        try:
            with folder.launching():
                state = folder.state()
                if not state.ended and not self._hand_over(folder, state):
                    handed = self._handed_over(folder)
                    assert handed is not None
                    return self._compare(folder, handed, self.client.job(handed.id)), False
            self._silent_since = None
        except RayUnreachableError as error:
            return self._silent(str(error))
        except RayError as error:
            return str(error), False
        return "", False

    def _compare(self, folder: JobFolder, handed: HandedOver, found: RayJob | None) -> str:
        self._silent_since = None
        state = folder.state()  # read after Ray was asked: the job's own word comes first
        if state.ended:
            return ""
        if found is None:
            self._lose(folder, state, "the Ray cluster has forgotten it: its head was restarted")
        elif found.ended and not folder.supervised():
            said = found.message.splitlines()[0] if found.message else "no reason given"
            if state.state == "queued" and found.status == "STOPPED":
                self._end(folder, state, "cancelled", "stopped in Ray while it waited")
            else:
                self._lose(folder, state, f"its supervisor ended before it did; Ray says {found.status}: {said}")
        elif state.state == "queued" and found.status == "PENDING":
            return "waits for resources of the Ray cluster"
        return ""

    def _silent(self, said: str) -> tuple[str, bool]:
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        quiet = now - self._silent_since
        if quiet < self.patience:
            return said, False
        return f"{said} for {quiet:.0f} s: how the job is, nobody can say", True

    def _lose(self, folder: JobFolder, state: State, reason: str) -> None:
        """Queue it anew where its spec says so, else record the loss."""
        now = time.time()
        if folder.complete():
            self._end(folder, state, "succeeded", f"{reason}; its outputs are complete")
        elif state.attempt <= folder.job()["spec"]["retries"] and not folder.stop_asked():
            lost = replace(state, state="lost", reason=reason, ended_at=now)
            again = lost.queued_again(now, reason=f"attempt {state.attempt} was lost: {reason}")
            folder.write_state(again)
            self._hand_over(folder, again)
        else:
            self._end(folder, state, "cancelled" if folder.stop_asked() else "lost", reason)

    def _end(self, folder: JobFolder, state: State, how: str, reason: str) -> None:
        folder.write_state(replace(state, state=how, reason=reason, ended_at=time.time()))
        folder.close()

    # -- handing over; the caller holds the job's launch lock

    def _hand_over(self, folder: JobFolder, state: State) -> bool:
        handed = self._handed_over(folder)
        if handed is not None and handed.accepted and (handed.attempt >= state.attempt or state.state != "queued"):
            return False
        job = folder.job()
        spec = JobSpec.from_json(job["spec"])
        # Of this very job: another home on the same cluster may have one of the same key and spec.
        name = fingerprint([str(self.home), job["submitted_at"], job["key"], spec.canonical()])
        told = HandedOver(f"wovr-{folder.id}-{name}-{state.attempt}", state.attempt)
        write_json(self._path(folder), asdict(told))
        self.client.submit(self._submission(told.id, folder.id, spec))
        write_json(self._path(folder), asdict(replace(told, accepted=True)))
        return True

    def _submission(self, name: str, job: str, spec: JobSpec) -> Submission:
        passed = {variable: os.environ[variable] for variable in PASSED if variable in os.environ}
        return Submission(
            id=name,
            entrypoint=shlex.join(module_command("workbench.jobs.ray_worker", job)),
            env_vars=passed | {"WOVR_HOME": str(self.home), SUPERVISES: job},
            cores=spec.resources.cores,
            memory_mb=spec.resources.memory_mb,
            gpus=spec.resources.gpus,
            custom=spec.resources.custom,
        )

    def _path(self, folder: JobFolder) -> Path:
        return folder.path / "submission.json"

    def _handed_over(self, folder: JobFolder) -> HandedOver | None:
        path = self._path(folder)
        return HandedOver(**read_json(path)) if path.exists() else None


def find_client(home: Path) -> RayClient:
    """Of RAY_API_SERVER_ADDRESS, with the token that Ray's variables name, or of the cluster of this home.

    Raises WovrError when there is neither.
    """
    if address := os.environ.get("RAY_API_SERVER_ADDRESS"):
        return RayClient(address, read_token())
    cluster = find_cluster(cluster_folder(home))
    if cluster is None:
        raise WovrError(
            "there is no Ray cluster: set RAY_API_SERVER_ADDRESS (http://HEAD:8265) and RAY_AUTH_TOKEN_PATH, "
            "or start one on this machine: python -m workbench.jobs.ray_cluster start"
        )
    return RayClient(cluster.address, cluster.token)
