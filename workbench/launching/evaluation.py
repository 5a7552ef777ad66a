"""The job kind `evaluate_policy`: real trials of any policy checkpoint that a run holds.

It works in the run that holds the checkpoint, in a stage folder named after what is evaluated: the same question
asked twice is answered once, and its episodes appear in the store like those of any stage.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.jobs.kinds import JobKind, module_command, register_kind
from workbench.jobs.spec import RUN_ID, JobSpec
from workbench.jobs.workload import Estimate, estimate, measured_stages
from workbench.store.checkpoints import FoundCheckpoint, checkpoints_of
from wovr_core.config import from_dict
from wovr_core.errors import Interrupted, UnknownNameError, WovrError
from wovr_core.files import fingerprint, read_json, wovr_home
from wovr_core.run_folder import describe_machine

KIND = "evaluate_policy"
POLICY = "policy"
MAX_TRIALS = 50
"""LIBERO ships so many initial states a task."""
_TASKS = re.compile(r"\d{1,3}(:\d{1,3})*")
_VERSION = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class EvaluationParameters:
    """What is evaluated. Raises WovrError naming the part that is malformed."""

    policy: str
    """The checkpoint's version."""
    tasks: str
    """Indices in the run's suite, as in 0:3:7."""
    trials: int = 20
    """Initial states of each task, from the first on: the same ones for every policy."""
    temperature: float = 1.0
    """Of the policy's sampling; 0 takes the likeliest action."""
    max_steps: int = 200
    seed: int = 0
    """Of the policy's sampling."""

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.policy):
            raise WovrError(f"policy {self.policy[:60]!r} is not the version of a checkpoint (hex digits)")
        if not _TASKS.fullmatch(self.tasks) or len(set(self.task_list)) != len(self.task_list):
            raise WovrError(f"tasks {self.tasks[:60]!r} must be distinct indices such as 0:3:7")
        if not 1 <= self.trials <= MAX_TRIALS:
            raise WovrError(
                f"trials = {self.trials}; LIBERO ships {MAX_TRIALS} initial states a task: 1 to {MAX_TRIALS}"
            )
        if not 0.0 <= self.temperature <= 10.0:
            raise WovrError(f"temperature = {self.temperature}; a number from 0 to 10 is needed")
        if not 1 <= self.max_steps <= 10_000:
            raise WovrError(f"max_steps = {self.max_steps}; 1 to 10000 actions")
        if not 0 <= self.seed < 2**31:
            raise WovrError(f"seed = {self.seed}; a whole number from 0 is needed")

    @property
    def task_list(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.tasks.split(":"))

    @property
    def stage(self) -> str:
        """The stage folder: equal for equal questions."""
        return f"evaluate-{self.policy[:8]}-{fingerprint(asdict(self))[:8]}"


def parameters_of(spec: JobSpec) -> EvaluationParameters:
    """Raises WovrError."""
    return from_dict(EvaluationParameters, dict(spec.parameters), "parameters")


def estimate_evaluation(spec: JobSpec, home: Path) -> tuple[str, Estimate, bool]:
    """(stage folder, what it will take, whether it is finished already). Raises WovrError: no such run or policy."""
    wanted = parameters_of(spec)
    run = home / "runs" / spec.run
    recipe = run_config(run)
    _checkpoint(run, wanted.policy)
    if (run / wanted.stage / "outputs.json").is_file():
        return wanted.stage, Estimate(0.0, 0.0, "done already"), True
    settings = {"trials": wanted.trials, "temperature": wanted.temperature, "max_steps": wanted.max_steps}
    config = {**recipe, "evaluate": settings, "tasks": list(wanted.task_list)}
    return wanted.stage, estimate("evaluate", config, measured_stages(home / "runs", describe_machine())), False


def run_config(run: Path) -> dict[str, Any]:
    """The recipe that a run was made with, as JSON. Raises WovrError where there is no run, or it does not say."""
    if not (run / "run.json").is_file():
        raise WovrError(f"there is no run {run.name!r}; start one with `wovr demo`")
    try:
        return dict(read_json(run / "run.json")["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise WovrError(f"{run / 'run.json'} does not say its configuration ({error})") from error


def _checkpoint(run: Path, version: str) -> FoundCheckpoint:
    found = {c.version: c for c in checkpoints_of(run, POLICY)}
    if version not in found:
        raise UnknownNameError(f"policy of the run {run.name}", version, found)
    return found[version]


def _argv(spec: JobSpec) -> list[str]:
    return module_command("workbench.launching.evaluation", spec.run, json.dumps(dict(spec.parameters), sort_keys=True))


def _stages(spec: JobSpec) -> list[str]:
    return [parameters_of(spec).stage]


def _finished(spec: JobSpec) -> str:
    return f"runs/{spec.run}/{parameters_of(spec).stage}/outputs.json"


register_kind(
    JobKind(
        KIND,
        "real trials of one policy checkpoint",
        _argv,
        parameters=EvaluationParameters,
        stages=_stages,
        finished=_finished,
    )
)


def main(argv: Sequence[str]) -> int:
    """`python -m workbench.launching.evaluation RUN PARAMETERS`; returns the exit code as `wovr` does."""
    try:
        return _evaluate(*argv)
    except Interrupted as stop:
        print(f"wovr: {stop}", file=sys.stderr)
        return 130
    except WovrError as error:
        print(f"wovr: {error}", file=sys.stderr)
        return 2


def _evaluate(run_id: str, parameters: str) -> int:
    from wovr_core.envs.libero import LiberoConfig
    from wovr_core.envs.pool import EnvPool
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.recipes import Recipe
    from wovr_core.run_folder import Run
    from wovr_core.stages import evaluate
    from wovr_core.statistics import format_rate

    wanted = from_dict(EvaluationParameters, json.loads(parameters), "parameters")
    if not RUN_ID.fullmatch(run_id):
        raise WovrError(f"{run_id!r} is not the id of a run")
    path = wovr_home() / "runs" / run_id
    made = run_config(path)  # by whatever version: of all its settings only these two matter here
    recipe = Recipe(
        name=str(read_json(path / "run.json").get("recipe", "")),
        env=from_dict(LiberoConfig, made.get("env", {}), f"{path / 'run.json'}: env"),
        workers=int(made.get("workers", 1)),
    )
    policy = path / _checkpoint(path, wanted.policy).path
    config = evaluate.EvaluateConfig(wanted.trials, wanted.temperature, wanted.max_steps)
    with polite_interrupts(), Run(path, recipe) as run, EnvPool(workers=recipe.workers) as pool:
        inputs = evaluate.EvaluateInputs(recipe.env, wanted.task_list, policy, wanted.seed, pool)
        outputs = run.stage(wanted.stage, evaluate.run, config, inputs)
    print(f"{wanted.policy}: {format_rate(outputs.successes, outputs.trials)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
