"""Real episodes of one length, for measuring closed loops that are longer than any task takes.

A policy acts on and on, past success too. World models are never trained on these episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.execution import PolicyJob, run_policy
from wovr_core.model_files import version_of
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.real_episodes import make_missing, versions_of


@dataclass(frozen=True)
class CollectLongConfig:
    episodes: int = 4
    """Per task."""
    steps: int = 512
    temperature: float = 1.0


@dataclass(frozen=True)
class CollectLongInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    policy: Path
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class CollectLongOutputs:
    episodes: str
    version: str
    count: int


def run(
    config: CollectLongConfig, inputs: CollectLongInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> CollectLongOutputs:
    """Episodes from training starts that no other stage uses; resumes with those that are not on disk yet."""
    versions = versions_of(inputs) | {"policy": version_of(inputs.policy)}
    folder = StageFolder(out_dir, "collect_long", config, versions, on_metrics)
    finished = folder.outputs(CollectLongOutputs)
    if finished:
        return finished
    jobs = {
        f"{inputs.env.suite}-{task}-long{index:04d}": _job(config, inputs, task, index)
        for task in inputs.tasks
        for index in range(config.episodes)
    }
    episodes = make_missing(folder, jobs, run_policy, jobs.__getitem__, inputs.pool)
    collected = EpisodeSet(episodes)
    folder.log(len(jobs), {"steps": len(jobs) * config.steps})
    return folder.finish(CollectLongOutputs(str(episodes), collected.write_index(), len(collected)))


def _job(config: CollectLongConfig, inputs: CollectLongInputs, task: int, index: int) -> PolicyJob:
    return PolicyJob(
        inputs.env,
        task,
        "training",
        derive_seed(inputs.seed, "long_start", task, index) % 2**31,
        inputs.policy,
        config.temperature,
        derive_seed(inputs.seed, "long_sampling", task, index),
        config.steps,
        steps_after_success=config.steps,
    )
