"""The service behind every button that starts, ends or repeats a job: roles, quotas, keys, the ledger.

launcher = Launcher(LocalBackend())
spec = read_draft({"kind": "sft", "recipe": "demo", "run": "mine", "changes": [{"key": "sft.steps", "value": "50"}]})
job = launcher.launch(user, spec, key="k1")      # again with the same key: the same job
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.jobs.backend import JobBackend, JobId, JobStatus
from workbench.jobs.preflight import Preflight, StagePlan, preflight
from workbench.jobs.records import jobs_folder
from workbench.jobs.spec import JobSpec
from workbench.launching.evaluation import KIND as EVALUATION
from workbench.launching.evaluation import estimate_evaluation
from workbench.launching.ledger import Ledger
from workbench.server.roles import Role, User
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

KEY_LENGTH = range(8, 129)


@dataclass(frozen=True)
class LaunchLimits:
    """What one person may have under way."""

    open_jobs: int = 12
    """Jobs that wait or run."""


class QuotaError(WovrError):
    """Too many jobs of one person are under way."""


class Launcher:
    """Acts for users on a backend. Raises ForbiddenError wherever the role does not suffice.

    Args:
        home: where runs are looked at before a launch; the backend's own, or $WOVR_HOME.
    """

    def __init__(self, backend: JobBackend, home: Path | None = None, limits: LaunchLimits | None = None) -> None:
        self.backend = backend
        self.home = home or getattr(backend, "home", None) or wovr_home()
        self.limits = limits or LaunchLimits()
        self.ledger = Ledger(jobs_folder(self.home))

    def preflight(self, spec: JobSpec) -> Preflight:
        """What a launch would take; a backend other than this machine's judges its own resources."""
        found = preflight(spec, self.home, here=self.backend.name == "local")
        if spec.kind == EVALUATION:
            stage, estimate, done = estimate_evaluation(spec, self.home)
            plan = StagePlan(stage, "kept" if done else "run", estimate.seconds, estimate.megabytes, estimate.basis)
            unknown = () if estimate.seconds is not None else (stage,)
            found = replace(
                found, stages=(plan,), seconds=estimate.seconds, disk_mb=estimate.megabytes, unknown=unknown
            )
        return found

    def launch(self, user: User, spec: JobSpec, key: str) -> JobId:
        """Queue a job for a user. The same key of the same user is the same job, however often it is sent.

        Raises:
            ForbiddenError: below OPERATOR.
            QuotaError: the user has as many jobs under way as one may have.
            WovrError: a malformed key, a key used for another spec, or a refusal of the preflight.
        """
        user.require(Role.OPERATOR, "launch jobs")
        if not isinstance(key, str) or len(key) not in KEY_LENGTH or not key.isascii() or not key.isprintable():
            raise WovrError("a launch needs a key of 8 to 128 plain characters; make a random one for each launch")
        theirs = f"{user.name}/{key}"
        with self.ledger.turn():
            if self.ledger.launched_as(theirs) is not None:  # it counts once, and its run does not refuse itself
                return self.backend.submit(spec, theirs)
            self._check_quota(user)
            self.preflight(spec).check()
            job = self.backend.submit(spec, theirs)
            self.ledger.write(job, user.name, "launch", theirs)
        return job

    def cancel(self, user: User, job: str) -> None:
        """Ask a job to end; it checkpoints first. Raises ForbiddenError, UnknownJobError."""
        user.require(Role.OPERATOR, "cancel jobs")
        status = self.backend.status(JobId(job))
        if not status.state.ended:
            self.backend.stop(status.id)
            self.ledger.write(status.id, user.name, "cancel")

    def retry(self, user: User, job: str) -> None:
        """Queue an ended job once more. Raises ForbiddenError, UnknownJobError, QuotaError, or WovrError."""
        user.require(Role.OPERATOR, "retry jobs")
        with self.ledger.turn():
            status = self.backend.status(JobId(job))
            self._check_quota(user)
            self.backend.retry(status.id)
            self.ledger.write(status.id, user.name, "retry")

    def jobs(self) -> Sequence[JobStatus]:
        """All of them, the newest first."""
        return self.backend.list()

    def _check_quota(self, user: User) -> None:
        acted = {deed.job: deed.user for deed in self.ledger.deeds() if deed.act in ("launch", "retry")}
        under_way = [s.id for s in self.backend.list() if not s.state.ended and acted.get(s.id) == user.name]
        if len(under_way) >= self.limits.open_jobs:
            raise QuotaError(
                f"{user.name} has {len(under_way)} jobs waiting or running, as many as one may have; "
                "wait for one to end, or cancel one"
            )
