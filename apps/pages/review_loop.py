"""The loop closed from the Review page: corrections, the refinement that learns them, and a rollout imagined again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from apps.scrubber_host import reading_value
from apps.services import Services
from workbench.server.roles import Role, User
from workbench.store.items import AUDITED
from workbench.store.tables import Record, Run
from wovr_core.data.episode_files import read_episode
from wovr_core.errors import WovrError


class LoopError(WovrError):
    """The loop cannot go on from here."""


class Loop:
    """Its messages; all of them take the role operator. What is slow to import is imported when it is used."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.operations: dict[str, Callable[[User, Mapping[str, Any]], dict[str, Any]]] = {
            "loop": self._state,
            "correct": self._correct,
            "retrain": self._retrain,
            "again": self._again,
        }

    def _state(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """Runs, and of the one that is named: its flags, versions, the job of each, and what it gave."""
        user.require(Role.OPERATOR, "make corrections")
        runs = self._runs()
        name = message.get("run")
        if name is None:
            return {"runs": sorted(runs)}
        run = self._run(name, runs)
        from workbench.retrain import corrections_of, refined, versions

        made = []
        for version in versions(run):
            manifest = corrections_of(run, version).manifest
            made.append(
                {
                    "version": version,
                    "counts": manifest["provenance"]["counts"],
                    "rollouts": [c["rollout"] for c in manifest["corrections"]],
                    "job": self._job(run, version),
                    "refined": refined(run, version),
                }
            )
        return {"runs": sorted(runs), "run": name, "flags": self._flags(run), "versions": made}

    def _correct(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """A version of corrections out of all flags of the run, the audit's among them if that is asked for."""
        user.require(Role.OPERATOR, "make corrections")
        run = self._run(message.get("run"), self._runs())
        from workbench.corrections import CorrectionsConfig, make, source_of
        from workbench.flags import add_audit_flags, logged_flags

        source = source_of(run)
        if message.get("audit") is True:
            add_audit_flags(run, source)
        made = make(source, logged_flags(run, source), CorrectionsConfig(), run / "corrections")
        return {"version": made.version}

    def _retrain(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """Submit the refinement; asked for twice it is one job, and one that failed is tried again."""
        user.require(Role.OPERATOR, "launch jobs")
        run, version = self._version(message)
        from workbench.retrain import job_of, key_of

        if run.parent != self._home_runs():
            raise LoopError(f"{run.name} is not below WOVR_HOME/runs, where jobs work; move it there")
        jobs = self._services.jobs
        job = jobs.submit(job_of(run.name, version), key_of(run.name, version))
        status = jobs.status(job)
        if status.state.ended and status.state != "succeeded":
            jobs.retry(job)
        return {"job": str(job)}

    def _again(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """The scrubber's value: the rollout before and after, side by side."""
        user.require(Role.OPERATOR, "imagine rollouts again")
        run, version = self._version(message)
        name = message.get("rollout")
        from workbench.retrain import before_and_after, corrections_of, imagine_again
        from workbench.run_data import RunData

        known = {c.rollout for c in corrections_of(run, version).corrections}
        if name not in known:
            raise LoopError("there is no such corrected rollout in this version")
        data, rollout_id = RunData(run), str(name)
        item = self._services.catalogue.find(f"{message['run']}/imagine/{rollout_id}")
        before = data.rollout(rollout_id)
        after = imagine_again(data, before, version)
        real = read_episode(item.replay) if item is not None and item.replay is not None else None
        return {"value": reading_value(before_and_after(before, after, real), self._services.packs)}

    def _job(self, run: Path, version: str) -> dict[str, Any] | None:
        from workbench.retrain import job_of

        jobs, spec = self._services.jobs, job_of(run.name, version)
        status = next((found for found in jobs.list() if found.spec == spec), None)
        if status is None:
            return None
        lines = jobs.logs(status.id).text.splitlines()[-6:] if status.state != "queued" else []
        return {"id": str(status.id), "state": str(status.state), "reason": status.reason, "log": lines}

    def _flags(self, run: Path) -> dict[str, int]:
        """Author -> how many spans on imagined rollouts."""
        from workbench.corrections import source_of
        from workbench.flags import logged_flags

        found: dict[str, int] = {}
        for flag in logged_flags(run, source_of(run)):
            found[flag.author] = found.get(flag.author, 0) + 1
        return found

    def _runs(self) -> dict[str, Path]:
        """Name -> folder, of the runs with imagined and audited rollouts."""
        self._services.catalogue.problems()  # has it look at the disk
        audited = select(Record.run_id).where(Record.kind == AUDITED)
        with self._services.store.read() as session:
            rows = session.execute(select(Run.key, Run.path).where(~Run.missing, Run.id.in_(audited))).all()
        return {str(key): Path(path) for key, path in rows}

    def _run(self, name: object, runs: Mapping[str, Path]) -> Path:
        if not isinstance(name, str) or name not in runs:
            raise LoopError("there is no such run with imagined rollouts; `wovr run audit` makes them")
        return runs[name]

    def _version(self, message: Mapping[str, Any]) -> tuple[Path, str]:
        run = self._run(message.get("run"), self._runs())
        from workbench.retrain import corrections_of

        return run, corrections_of(run, str(message.get("version"))).version

    def _home_runs(self) -> Path:
        from wovr_core.files import wovr_home

        return (wovr_home() / "runs").resolve()
