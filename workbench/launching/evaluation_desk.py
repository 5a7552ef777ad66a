"""Where the questions of the page Evaluate arrive: which policies, on which tasks, how often; and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.compare import Evaluation, evaluations
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec, Resources
from workbench.launching.desk import LaunchDesk
from workbench.launching.drafts import DEFAULT_MEMORY_MB, DraftError, fields_of
from workbench.launching.evaluation import KIND, MAX_TRIALS, POLICY, EvaluationParameters, run_config
from workbench.launching.launcher import Launcher
from workbench.server.answering import answered
from workbench.server.roles import Role, User
from workbench.store.checkpoints import checkpoints_of
from wovr_core.errors import UnknownNameError, WovrError

MAX_POLICIES = 12
MAX_RESULTS = 100
_FIELDS = {"trials": int, "temperature": float, "max_steps": int, "seed": int}


class EvaluationDesk:
    """Answers for one launcher.

    Args:
        runs: name -> folder of all runs whose results are shown; policies are evaluated below the launcher's home.
    """

    def __init__(self, launcher: Launcher, runs: Callable[[], Mapping[str, Path]]) -> None:
        self.launcher, self._runs = launcher, runs
        self._jobs = LaunchDesk(launcher)
        self._questions: dict[str, Callable[[User, Mapping[str, Any]], dict[str, Any]]] = {
            "runs": self._with_policies,
            "policies": self._policies,
            "check": self._check,
            "evaluate": self._evaluate,
            "results": self._results,
        }

    def handle(self, message: object, user: User) -> dict[str, Any]:
        """The answer to one question; those about jobs are LaunchDesk's. Never raises for what a caller got wrong."""
        name = message.get("ask") if isinstance(message, Mapping) else None
        if not isinstance(name, str) or name not in self._questions or not isinstance(message, Mapping):
            if name in ("jobs", "job", "cancel", "retry"):
                return self._jobs.handle(message, user)
            return {"error": str(UnknownNameError("question", str(name)[:60], self._questions))}
        return answered(lambda: self._questions[name](user, message), fields_of)

    def _home_runs(self) -> dict[str, Path]:
        """Only runs below the launcher's home can be worked in."""
        below = (self.launcher.home / "runs").resolve()
        return {path.name: path for path in self._runs().values() if path.resolve().parent == below}

    def _with_policies(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        found = [
            {"name": name, "policies": len(checkpoints_of(path, POLICY))} for name, path in self._home_runs().items()
        ]
        return {
            "runs": [run for run in found if run["policies"]],
            "may_launch": user.may(Role.OPERATOR),
            "user": user.name,
            "max_trials": MAX_TRIALS,
        }

    def _policies(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        run = self._run(message.get("run"))
        config = run_config(run)
        suite, own = str(config["env"]["suite"]), [int(t) for t in config["tasks"]]
        found = [{"version": c.version, "title": c.title, "stage": c.stage} for c in checkpoints_of(run, POLICY)]
        texts = _instructions(config["env"])
        return {
            "policies": found,
            "suite": suite,
            "tasks": [{"task": i, "instruction": text, "own": i in own} for i, text in enumerate(texts)],
            "defaults": {name: config["evaluate"].get(name) for name in ("trials", "temperature", "max_steps")}
            | {"seed": int(config.get("seed", 0))},
        }

    def _check(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        found = [self.launcher.preflight(spec) for spec in self._specs(message)]
        refusals = list(dict.fromkeys(text for one in found for text in one.refusals))
        known = [one.seconds for one in found if one.seconds is not None]
        return {
            "seconds": sum(known) if len(known) == len(found) else None,
            "kept": sum(stage.plan == "kept" for one in found for stage in one.stages),
            "jobs": len(found),
            "basis": found[0].stages[0].basis if found and found[0].stages else "",
            "memory_mb": found[0].memory_mb if found else None,
            "free_disk_mb": found[0].free_disk_mb if found else None,
            "disk_mb": sum(one.disk_mb or 0.0 for one in found),
            "refusals": refusals,
            "warnings": list(dict.fromkeys(text for one in found for text in one.warnings)),
        }

    def _evaluate(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.OPERATOR, "launch jobs")
        key = message.get("key")
        if not isinstance(key, str):
            raise WovrError("a launch needs a key")
        made: list[str] = []
        specs = self._specs(message)
        for spec in specs:
            try:
                made.append(self.launcher.launch(user, spec, f"{key}-{spec.parameters['policy']}"[:128]))
            except WovrError as error:
                done = f"{len(made)} of {len(specs)} were launched; " if made else ""
                return {"error": f"{done}{error}", "jobs": made}
        return {"jobs": made}

    def _results(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """Of one run, or of all; the latest of a run last."""
        runs, only = self._runs(), message.get("run")
        chosen = {only: runs[only]} if isinstance(only, str) and only in runs else dict(runs) if not only else {}
        found = evaluations(chosen)
        shown = [e.summary() | {"episodes": _links(e)} for e in found[-MAX_RESULTS:]]
        return {"results": shown, "total": len(found)}

    def _specs(self, message: Mapping[str, Any]) -> list[JobSpec]:
        """One job for each policy asked for. Raises DraftError by field."""
        errors: dict[str, str] = {}
        chosen, tasks = _texts(message.get("policies")), _indices(message.get("tasks"))
        if not 1 <= len(chosen) <= MAX_POLICIES:
            errors["policies"] = f"choose 1 to {MAX_POLICIES} policies"
        if not tasks:
            errors["tasks"] = "choose at least one task"
        values: dict[str, Any] = {}
        for name, kind in _FIELDS.items():
            try:
                values[name] = kind(str(message.get(name, "")).strip())
            except ValueError:
                errors[name] = (
                    f"{str(message.get(name))[:40]!r} is not a {'number' if kind is float else 'whole number'}"
                )
        run = self._run(message.get("run"))
        if errors:
            raise DraftError(errors)
        known = {c.version for c in checkpoints_of(run, POLICY)}
        missing = [version for version in chosen if version not in known]
        if missing:
            raise DraftError({"policies": str(UnknownNameError(f"policy of {run.name}", missing[0][:40], known))})
        count = len(_instructions(run_config(run)["env"]))
        if max(tasks) >= count:
            raise DraftError({"tasks": f"there is no task {max(tasks)}; the suite has {count}"})
        text = ":".join(str(t) for t in sorted(set(tasks)))
        specs = []
        for version in dict.fromkeys(chosen):
            try:
                parameters = EvaluationParameters(version, text, **values)
            except WovrError as error:
                name = next((n for n in _FIELDS if str(error).startswith(n)), "")
                raise DraftError({name: str(error)}) from error
            specs.append(JobSpec(KIND, run.name, parameters=asdict(parameters), resources=self._resources(run)))
        return specs

    def _resources(self, run: Path) -> Resources:
        workers = int(run_config(run).get("workers", 1))
        return Resources(max(1, min(workers, Capacity.read(self.launcher.home / "jobs").cores)), DEFAULT_MEMORY_MB)

    def _run(self, name: object) -> Path:
        runs = self._home_runs()
        if not isinstance(name, str) or name not in runs:
            raise DraftError({"run": str(UnknownNameError("run", str(name)[:60], runs))})
        return runs[name]


def _instructions(env: Mapping[str, Any]) -> Sequence[str]:
    """Of the tasks that a run's environment has, by index."""
    from wovr_core.config import from_dict
    from wovr_core.envs.environments import environment_of
    from wovr_core.envs.libero import LiberoConfig
    from wovr_core.envs.libero_suites import tasks

    if "kind" not in env:  # LIBERO's, whatever other keys the version that wrote it knew
        return [task.instruction for task in tasks(str(env["suite"]))]
    config = from_dict(LiberoConfig, dict(env), "the run's env")
    return [task.instruction for task in environment_of(config).tasks(config)]


def _links(evaluation: Evaluation) -> dict[str, str]:
    """ "task:init" -> id of its episode in the catalogue."""
    return {
        f"{task}:{init}": f"{evaluation.id}/{evaluation.episode((task, init))}" for task, init in evaluation.outcomes
    }


def _texts(value: object) -> list[str]:
    """The list where it is one of texts, else none."""
    return list(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else []


def _indices(value: object) -> list[int]:
    """The list where it is one of tasks' indices, else none."""
    whole = isinstance(value, list) and all(type(one) is int and 0 <= one < 1000 for one in value)
    return list(value) if whole and isinstance(value, list) else []
