"""Where the launch form's and the job list's questions arrive, from a page or a notebook; each is checked here.

Questions are {"ask": NAME, ...}; an answer is a JSON object, with "error" (and "fields", for a form) where it is a no.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from workbench.jobs.backend import JobId, JobStatus
from workbench.jobs.spec import JobSpec
from workbench.launching.drafts import default_resources, fields_of, launchable, read_draft
from workbench.launching.launcher import Launcher
from workbench.launching.options import options, search
from workbench.launching.watching import JobLook, job_row, job_rows, queue_positions
from workbench.server.answering import answered
from workbench.server.roles import Role, User
from wovr_core.errors import UnknownNameError, WovrError

MAX_JOBS = 200
MAX_SEARCH = 100
_JOB = re.compile(r"[A-Za-z0-9]{1,64}")


class LaunchDesk:
    """Answers for one launcher; who asks comes with each question."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self._look = JobLook(launcher.backend, launcher.home / "runs")
        self._questions: dict[str, Callable[[User, Mapping[str, Any]], dict[str, Any]]] = {
            "setup": self._setup,
            "options": self._options,
            "check": self._check,
            "launch": self._launch,
            "jobs": self._jobs,
            "job": self._job,
            "cancel": self._cancel,
            "retry": self._retry,
        }

    def handle(self, message: object, user: User) -> dict[str, Any]:
        """The answer to one question. Never raises for what a caller may have got wrong."""
        return answered(lambda: self._asked(message, user), fields_of)

    def _asked(self, message: object, user: User) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise WovrError("a question must be an object")
        name = message.get("ask")
        if not isinstance(name, str) or name not in self._questions:
            raise UnknownNameError("question", str(name)[:60], self._questions)
        return self._questions[name](user, message)

    def _setup(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        from wovr_core import recipes

        summaries = recipes.summaries()
        return {
            "recipes": [{"name": n, "help": text, "resources": default_resources(n)} for n, text in summaries.items()],
            "kinds": [{"name": name, "help": text} for name, text in launchable().items()],
            "user": user.name,
            "may_launch": user.may(Role.OPERATOR),
        }

    def _options(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        recipe, text, keys = message.get("recipe"), message.get("text", ""), message.get("keys")
        if not isinstance(recipe, str) or not isinstance(text, str) or len(text) > MAX_SEARCH:
            raise WovrError(f"a search needs a recipe and a text of at most {MAX_SEARCH} characters")
        every = options(recipe)
        if isinstance(keys, list):  # those that a link or an earlier job names
            return {"options": [o.to_json() for o in every if o.key in keys], "total": len(every)}
        return {"options": [o.to_json() for o in search(every, text, len(every))], "total": len(every)}

    def _check(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        spec = read_draft(message.get("draft"))
        return {"preflight": asdict(self.launcher.preflight(spec)), "command": _command(spec)}

    def _launch(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.OPERATOR, "launch jobs")  # before anything is told about runs and files
        spec = read_draft(message.get("draft"))
        job = self.launcher.launch(user, spec, message.get("key", ""))
        return {"job": self._row(self.launcher.backend.status(job))}

    def _jobs(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        statuses = self.launcher.jobs()
        users = self.launcher.ledger.launched_by()
        return {
            "jobs": job_rows(statuses, users)[:MAX_JOBS],
            "total": len(statuses),
            "may_launch": user.may(Role.OPERATOR),
        }

    def _job(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        job = self._id(message)
        offset, digest = message.get("offset"), message.get("digest", "")
        if offset is not None and (not isinstance(offset, int) or isinstance(offset, bool) or offset < 0):
            raise WovrError("the offset must be a whole number from 0, or nothing")
        if not isinstance(digest, str):
            raise WovrError("the digest must be a text")
        status = self.launcher.backend.status(job)
        return {"job": self._row(status), **self._look.take(job, offset, digest)}

    def _cancel(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        job = self._id(message)
        self.launcher.cancel(user, job)
        return {"job": self._row(self.launcher.backend.status(job))}

    def _retry(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        job = self._id(message)
        self.launcher.retry(user, job)
        return {"job": self._row(self.launcher.backend.status(job))}

    def _row(self, status: JobStatus) -> dict[str, Any]:
        place = queue_positions(self.launcher.jobs()).get(status.id) if not status.state.ended else None
        return job_row(status, self.launcher.ledger.launched_by().get(status.id, ""), place)

    def _id(self, message: Mapping[str, Any]) -> JobId:
        job = message.get("id")
        if not isinstance(job, str) or not _JOB.fullmatch(job):
            raise WovrError("a job's id must be letters and digits")
        return JobId(job)


def _command(spec: JobSpec) -> str:
    """The same launch in a terminal, for people to copy."""
    words = ["wovr", "jobs", "submit", spec.kind, "--recipe", spec.recipe, "--run", spec.run]
    for override in spec.overrides:
        words += ["--set", override]
    words += ["--cores", str(spec.resources.cores), "--memory", str(spec.resources.memory_mb)]
    words += ["--gpus", str(spec.resources.gpus)] if spec.resources.gpus else []
    words += ["--priority", str(spec.priority)] if spec.priority else []
    words += ["--retries", str(spec.retries)] if spec.retries else []
    return shlex.join(words)
