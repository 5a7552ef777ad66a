"""Launch a job and watch it from a notebook: the same form and panel as the app's page Train.

from workbench.widgets import JobWatch, Launch
launch = Launch(recipe="demo", kind="sft", run="mine")    # shown; `launch.job` once it is launched
JobWatch("0a1b2c3d4e5f")                                  # any job, by its id or its beginning
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from workbench.jobs.backend import JobStatus, find
from workbench.launching.desk import LaunchDesk
from workbench.launching.launcher import Launcher
from workbench.server.roles import Role, User, system_user
from workbench.widgets import LAUNCH_FILES
from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from workbench.jobs.backend import JobBackend


class _Desk(anywidget.AnyWidget):
    """What both are: questions of the module, answered by a LaunchDesk for whoever runs the kernel."""

    _esm = LAUNCH_FILES[".js"]
    _css = LAUNCH_FILES[".css"]

    job = traitlets.Unicode("").tag(sync=True)
    form = traitlets.Bool(False).tag(sync=True)
    draft: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self, backend: JobBackend | None, user: User | None, **traits: Any) -> None:
        if backend is None:
            from workbench.jobs.local import LocalBackend

            backend = LocalBackend()
        self._launches = LaunchDesk(Launcher(backend))
        self._user = user or User(system_user(), Role.OPERATOR)
        super().__init__(**traits)
        self.on_msg(self._receive)

    @property
    def status(self) -> JobStatus | None:
        """How the job stands, or None before there is one. Raises UnknownJobError."""
        from workbench.jobs.backend import JobId

        return self._launches.launcher.backend.status(JobId(self.job)) if self.job else None

    def cancel(self) -> None:
        """Ask the job to checkpoint and end. Raises WovrError: there is none."""
        self._launches.launcher.cancel(self._user, self._known())

    def retry(self) -> None:
        """Queue the job once more; its stages go on from their checkpoints. Raises WovrError: it has not ended."""
        self._launches.launcher.retry(self._user, self._known())

    def _known(self) -> str:
        if not self.job:
            raise WovrError("there is no job yet; press Launch, or name one: JobWatch('ID')")
        return self.job

    def _receive(self, _: object, content: object, __: object) -> None:
        if not isinstance(content, Mapping) or content.get("kind") != "ask":
            return
        message = content.get("message")
        answer = self._launches.handle(message, self._user)
        self.send({"kind": "answer", "id": content.get("id"), "answer": answer})
        launched = isinstance(message, Mapping) and message.get("ask") == "launch" and "job" in answer
        if launched and self.form:
            self.job = answer["job"]["id"]


class Launch(_Desk):
    """The launch form; below it, the job that it made.

    Args:
        recipe, kind, run: what the form begins with.
        changes: option -> value, as `--set` takes them.
        backend: where jobs run; this machine by default.
        user: who launches; whoever runs the kernel, as an operator, by default.
    """

    def __init__(
        self,
        recipe: str = "demo",
        kind: str = "pipeline",
        run: str = "",
        changes: Mapping[str, object] | None = None,
        *,
        backend: JobBackend | None = None,
        user: User | None = None,
    ) -> None:
        given = [{"key": key, "value": _as_typed(value)} for key, value in (changes or {}).items()]
        super().__init__(backend, user, form=True, draft={"recipe": recipe, "kind": kind, "run": run, "changes": given})


class JobWatch(_Desk):
    """One job: progress, curves, log, cancel and resume.

    Args:
        job: its id, or its beginning; the newest job if none is named. Raises UnknownJobError, WovrError.
    """

    def __init__(self, job: str | None = None, *, backend: JobBackend | None = None, user: User | None = None) -> None:
        super().__init__(backend, user)
        jobs = self._launches.launcher.backend
        if job is None:
            newest = next(iter(jobs.list()), None)
            if newest is None:
                raise WovrError("there are no jobs yet; launch one with Launch() or `wovr jobs submit`")
            self.job = newest.id
        else:
            self.job = find(jobs, job)


def _as_typed(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
