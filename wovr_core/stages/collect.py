"""Collect real episodes: scripted demonstrations (with noise, and deliberate faults), or a policy's own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_episode, write_episode
from wovr_core.envs.expert.demonstrations import ExpertConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import CorruptFileError, Interrupted, WovrError
from wovr_core.execution import ExpertJob, PolicyJob, run_expert, run_policy
from wovr_core.interrupts import stop_requested
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.progress import Progress
from wovr_core.types import Episode

logger = logging.getLogger("wovr.collect")


@dataclass(frozen=True)
class CollectConfig:
    """Demonstrations of the scripted expert, per task."""

    clean: int = 30
    """Episodes without deliberate faults (their executed actions are noisy all the same)."""
    faulty: int = 10
    """Episodes with a bad grasp or an early release."""
    expert: ExpertConfig = field(default_factory=ExpertConfig)


@dataclass(frozen=True)
class CollectPolicyConfig:
    """Episodes of a policy from training starts, per task: what it really meets, failures above all."""

    episodes: int = 12
    temperature: float = 1.0
    max_steps: int = 160


@dataclass(frozen=True)
class CollectInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    seed: int
    pool: EnvPool
    """Its size changes the time, not the episodes."""
    policy: Path | None = None
    """For `run_policy_episodes`."""


@dataclass(frozen=True)
class CollectOutputs:
    episodes: str
    """The folder of the episode files."""
    version: str
    count: int
    successes: int
    steps: int


def run(
    config: CollectConfig, inputs: CollectInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> CollectOutputs:
    """Scripted demonstrations of every task. Resumes: episodes that are on disk and whole are kept."""
    versions = _versions(inputs)
    folder = StageFolder(out_dir, "collect", config, versions, on_metrics)
    finished = folder.outputs(CollectOutputs)
    if finished:
        return finished
    jobs = {}
    for task in inputs.tasks:
        for index in range(config.clean + config.faulty):
            faulty = index >= config.clean
            expert = replace(config.expert, fault_rate=1.0 if faulty else 0.0)
            seed = derive_seed(inputs.seed, "collect", task, index) % 2**31
            name = f"{inputs.env.suite}-{task}-{'faulty' if faulty else 'clean'}{index:04d}"
            jobs[name] = ExpertJob(inputs.env, task, seed, expert)
    return _collect(folder, jobs, run_expert, inputs, config.expert.max_steps)


def run_policy_episodes(
    config: CollectPolicyConfig, inputs: CollectInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> CollectOutputs:
    """Episodes of `inputs.policy` from training starts (never LIBERO's evaluation states)."""
    from wovr_core.model_files import version_of

    if inputs.policy is None:
        raise WovrError("collecting a policy's episodes needs a policy checkpoint")
    versions = _versions(inputs) | {"policy": version_of(inputs.policy)}
    folder = StageFolder(out_dir, "collect_policy", config, versions, on_metrics)
    finished = folder.outputs(CollectOutputs)
    if finished:
        return finished
    jobs = {}
    for task in inputs.tasks:
        for index in range(config.episodes):
            start = derive_seed(inputs.seed, "policy_start", task, index) % 2**31
            name = f"{inputs.env.suite}-{task}-policy{index:04d}"
            jobs[name] = PolicyJob(
                inputs.env,
                task,
                "training",
                start,
                inputs.policy,
                config.temperature,
                derive_seed(inputs.seed, "policy_sampling", task, index),
                config.max_steps,
            )
    return _collect(folder, jobs, run_policy, inputs, config.max_steps)


def _versions(inputs: CollectInputs) -> dict[str, str]:
    return {"env": str(inputs.env), "tasks": str(list(inputs.tasks)), "seed": str(inputs.seed)}


def _collect(
    folder: StageFolder,
    jobs: dict[str, Any],
    function: Callable[..., Episode],
    inputs: CollectInputs,
    max_steps: int,
) -> CollectOutputs:
    episodes = folder.path / "episodes"
    missing = [name for name in jobs if not _is_whole(episodes / f"{name}{SUFFIX}")]
    _check_disk(folder.path, len(missing), max_steps, inputs.env.size)
    progress = Progress(folder.stage, len(jobs), "episode", initial=len(jobs) - len(missing))
    ordered = [jobs[name] for name in missing]
    for done, (name, episode) in enumerate(
        zip(missing, inputs.pool.map(function, ordered, key=_task), strict=True), start=1
    ):
        write_episode(episodes, replace(episode, id=name))
        progress.update(1)
        folder.log(len(jobs) - len(missing) + done, {"success": episode.succeeded, "length": episode.length})
        if stop_requested():
            raise Interrupted(f"stopped {folder.stage} after {done} episodes; the same command goes on from there")
    progress.close()
    collected = EpisodeSet(episodes)
    summaries = collected.summaries()
    return folder.finish(
        CollectOutputs(
            episodes=str(episodes),
            version=collected.write_index(),
            count=len(summaries),
            successes=sum(s.succeeded for s in summaries),
            steps=sum(s.length for s in summaries),
        )
    )


def _task(job: ExpertJob | PolicyJob) -> int:
    return job.task


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        read_episode(path)
    except CorruptFileError as error:
        logger.warning("%s; making that episode again", error)
        path.unlink()
        return False
    return True


def _check_disk(path: Path, episodes: int, max_steps: int, size: int) -> None:
    need = episodes * max_steps * (size * size * 3 + 400 * 8)
    free = shutil.disk_usage(path).free
    logger.info("%d episodes to collect: at most %.0f MB of %.0f MB free", episodes, need / 1e6, free / 1e6)
    if need > free:
        raise WovrError(
            f"{episodes} episodes need up to {need / 1e6:,.0f} MB, {path} has {free / 1e6:,.0f} MB free: "
            "make room, choose another place with WOVR_HOME or --run, or collect fewer"
        )


def load_named(folders: Sequence[str | Path]) -> dict[str, Episode]:
    """All episodes of some folders by "folder number/episode id", in a stable order."""
    return {f"{i}/{e.id}": e for i, folder in enumerate(folders) for e in EpisodeSet(Path(folder))}
