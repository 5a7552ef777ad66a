"""Evaluate policies for real, on LIBERO's own initial states, which training never sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wovr_core.data.episode_files import SUFFIX, read_episode_summary
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.execution import PolicyJob, run_policy
from wovr_core.model_files import version_of
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.real_episodes import make_missing, versions_of
from wovr_core.statistics import proportion_interval


@dataclass(frozen=True)
class EvaluateConfig:
    """Trials per task; the same initial states for every policy, so that comparisons are paired."""

    trials: int = 10
    """At most 50: LIBERO ships that many initial states a task."""
    temperature: float = 0.0
    max_steps: int = 200


@dataclass(frozen=True)
class EvaluateInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    policy: Path
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class EvaluateOutputs:
    policy: str
    """The version."""
    successes: int
    trials: int
    interval: list[float]
    """Wilson, 95 %, over all trials."""
    per_task: dict[str, list[int]]
    """task index -> [successes, trials]"""
    outcomes: dict[str, list[bool]]
    """task index -> outcome of each initial state, for paired comparison."""
    episodes: str


def run(
    config: EvaluateConfig, inputs: EvaluateInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> EvaluateOutputs:
    """Run every trial; resumes with those that are not on disk yet."""
    version = version_of(inputs.policy)
    versions = versions_of(inputs) | {"policy": version}
    folder = StageFolder(out_dir, "evaluate", config, versions, on_metrics)
    finished = folder.outputs(EvaluateOutputs)
    if finished:
        return finished
    names = {
        f"{inputs.env.suite}-{task}-init{index:02d}": (task, index)
        for task in inputs.tasks
        for index in range(config.trials)
    }
    episodes = make_missing(folder, names, run_policy, lambda name: _job(config, inputs, *names[name]), inputs.pool)
    outcomes: dict[str, list[bool]] = {}
    for name, (task, _) in names.items():
        outcomes.setdefault(str(task), []).append(read_episode_summary(episodes / f"{name}{SUFFIX}").succeeded)
    successes = sum(sum(v) for v in outcomes.values())
    folder.log(len(names), {"successes": successes, "trials": len(names), "success_rate": successes / len(names)})
    return folder.finish(
        EvaluateOutputs(
            policy=version,
            successes=successes,
            trials=len(names),
            interval=list(proportion_interval(successes, len(names))),
            per_task={task: [sum(v), len(v)] for task, v in outcomes.items()},
            outcomes=outcomes,
            episodes=str(episodes),
        )
    )


def _job(config: EvaluateConfig, inputs: EvaluateInputs, task: int, index: int) -> PolicyJob:
    sampling = derive_seed(inputs.seed, "evaluate", task, index)
    return PolicyJob(
        inputs.env,
        task,
        "evaluation",
        index,
        inputs.policy,
        config.temperature,
        sampling,
        config.max_steps,
        steps_after_success=0,
    )
