"""Collect real episodes: scripted demonstrations (with noise, and deliberate faults), or a policy's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wovr_core.data.array_codecs import Codec, check_codec
from wovr_core.data.episode_files import SUFFIX, EpisodeSet
from wovr_core.envs.expert.demonstrations import ExpertConfig
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.execution import ExpertJob, PolicyJob, WriteJob, make_and_write, run_expert, run_policy
from wovr_core.seeding import derive_seed
from wovr_core.stages.disk import DiskBudget, episode_bytes
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.progress import Progress
from wovr_core.stages.real_episodes import still_missing, tell_of_first_use, versions_of
from wovr_core.types import Episode
from wovr_core.wording import counted


@dataclass(frozen=True)
class CollectConfig:
    """Demonstrations of the scripted expert, per task."""

    clean: int = 30
    """Episodes without deliberate faults (their executed actions are noisy all the same)."""
    faulty: int = 10
    """Episodes with a bad grasp, an early release or a bad place; without one where nothing is picked up."""
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    codec: Codec = "auto"
    """How frames and streams are stored, always lossless; see `data.array_codecs`."""

    def __post_init__(self) -> None:
        check_codec(self.codec)


@dataclass(frozen=True)
class CollectPolicyConfig:
    """Episodes of a policy from training starts, per task: what it really meets, failures above all."""

    episodes: int = 12
    temperature: float = 1.0
    max_steps: int = 160
    codec: Codec = "auto"
    """How frames and streams are stored, always lossless; see `data.array_codecs`."""

    def __post_init__(self) -> None:
        check_codec(self.codec)


@dataclass(frozen=True)
class CollectInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    seed: int
    pool: JobPool
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
    versions = versions_of(inputs)
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
    return _collect(folder, jobs, run_expert, inputs, config.expert.max_steps, config.codec)


def run_policy_episodes(
    config: CollectPolicyConfig, inputs: CollectInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> CollectOutputs:
    """Episodes of `inputs.policy` from training starts (never LIBERO's evaluation states)."""
    from wovr_core.model_files import version_of

    if inputs.policy is None:
        raise WovrError("collecting a policy's episodes needs a policy checkpoint")
    versions = versions_of(inputs) | {"policy": version_of(inputs.policy)}
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
    return _collect(folder, jobs, run_policy, inputs, config.max_steps, config.codec)


def _collect(
    folder: StageFolder,
    jobs: dict[str, Any],
    function: Callable[..., Episode],
    inputs: CollectInputs,
    max_steps: int,
    codec: Codec,
) -> CollectOutputs:
    episodes = folder.path / "episodes"
    missing = still_missing(episodes, jobs)
    if missing:
        tell_of_first_use(inputs.env)
    there = len(jobs) - len(missing)
    budget = DiskBudget(folder.path, len(missing), _size_of_one(episodes, inputs.env, max_steps, codec))
    progress = Progress(folder.title, len(jobs), "episode", initial=there)
    orders = [WriteJob(name, episodes, codec, function, jobs[name]) for name in missing]
    with contextlib.closing(progress):
        for done, written in enumerate(inputs.pool.map(make_and_write, orders, key=_task), start=1):
            progress.update(1)
            folder.log(there + done, {"success": written.succeeded, "length": written.length})
            folder.stop_if_asked(f" after {counted(done, 'episode')}")
            budget.wrote(written.size)
    return folder.finish(outputs_of(episodes))


def outputs_of(episodes: Path) -> CollectOutputs:
    """What is told of a folder of episodes; writes its index."""
    collected = EpisodeSet(episodes)
    summaries = collected.summaries()
    return CollectOutputs(
        episodes=str(episodes),
        version=collected.write_index(),
        count=len(summaries),
        successes=sum(s.succeeded for s in summaries),
        steps=sum(s.length for s in summaries),
    )


def _task(job: WriteJob) -> int:
    return int(job.job.task)


def _size_of_one(episodes: Path, env: LiberoConfig, max_steps: int, codec: Codec) -> int:
    """Bytes: the mean of those that an earlier attempt wrote, or an estimate."""
    sizes = [path.stat().st_size for path in episodes.glob(f"*{SUFFIX}")]
    return round(sum(sizes) / len(sizes)) if sizes else episode_bytes(env, max_steps, codec)


def load_named(folders: Sequence[str | Path]) -> dict[str, Episode]:
    """All episodes of some folders by "folder number/episode id", in a stable order."""
    return {f"{i}/{e.id}": e for i, folder in enumerate(folders) for e in EpisodeSet(Path(folder))}
