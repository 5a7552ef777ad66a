"""Imagine rollouts of a policy from keyframes and write them down, to be looked at and audited."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from wovr_core.data.episode_files import EpisodeSet, read_rollout_summary, write_rollout
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import JobPool
from wovr_core.imagination import imagine_groups
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import load_policy, load_reward, load_world_model, version_of
from wovr_core.policy.base import Policy
from wovr_core.seeding import derive_seed, numpy_generator
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.progress import Progress
from wovr_core.types import Keyframe, RolloutGroup
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv


@dataclass(frozen=True)
class ImagineConfig:
    """Rollouts per keyframe and their length."""

    starts: int = 12
    """Keyframes to start from, drawn from the file."""
    group_size: int = 4
    chunks: int = 12
    temperature: float = 1.0
    discount: float = 0.995
    """Per action."""
    solver_steps: int = 2
    groups_per_batch: int = 4


@dataclass(frozen=True)
class Simulator:
    """Everything that imagination is made of."""

    policy: Path
    world_model: Path
    reward: Path

    def versions(self) -> dict[str, str]:
        return {name: version_of(path) for name, path in vars(self).items()}


@dataclass(frozen=True)
class ImagineInputs:
    simulator: Simulator
    keyframes: str
    keyframes_version: str
    seed: int
    pool: JobPool | None = None
    """Imagines the batches; None: this process does."""


@dataclass(frozen=True)
class ImagineOutputs:
    rollouts: str
    version: str
    count: int
    imagined_successes: int
    frames_per_second: float
    """Imagined, decoded and judged, policy included."""


def run(
    config: ImagineConfig, inputs: ImagineInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> ImagineOutputs:
    """Imagine batch by batch; a repeated run writes the same rollouts over."""
    versions = inputs.simulator.versions() | {"keyframes": inputs.keyframes_version, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "imagine", config, versions, on_metrics)
    finished = folder.outputs(ImagineOutputs)
    if finished:
        return finished
    chosen = draw_keyframes(read_keyframes(Path(inputs.keyframes)), config.starts, inputs.seed, "imagine")
    rollouts = folder.path / "rollouts"
    progress = Progress(folder.title, len(chosen), "group")
    began, frames = time.monotonic(), 0
    batches = [
        ImagineJob(
            inputs.simulator,
            tuple(chosen[first : first + config.groups_per_batch]),
            config,
            seed=derive_seed(inputs.seed, "imagine", first),
            threads=torch.get_num_threads(),
        )
        for first in range(0, len(chosen), config.groups_per_batch)
    ]
    for groups in inputs.pool.map(imagine_batch, batches) if inputs.pool else _imagine_here(batches):
        for group in groups:
            for rollout in group.rollouts:
                write_rollout(rollouts, rollout)
                frames += len(rollout.actions)
        progress.update(len(groups))
    progress.close()
    seconds = time.monotonic() - began
    written = EpisodeSet(rollouts)
    count = len(written)
    successes = sum(read_rollout_summary(path).imagined_success for path in written.paths.values())
    folder.log(count, {"imagined_successes": successes, "frames_per_second": frames / seconds})
    return folder.finish(
        ImagineOutputs(str(rollouts), written.write_index(), count, successes, round(frames / seconds, 2))
    )


@dataclass(frozen=True)
class ImagineJob:
    """One batch of groups. Its rollouts are a function of this alone, wherever it is imagined."""

    simulator: Simulator
    keyframes: tuple[Keyframe, ...]
    config: ImagineConfig
    seed: int
    threads: int
    """Of torch: sums over another number of threads round differently."""


def imagine_batch(envs: EnvCache, job: ImagineJob) -> list[RolloutGroup]:
    """For JobPool.map; real environments are not needed."""
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        return _imagine(job, *_models(job.simulator, job.config.solver_steps, job.config.chunks))
    finally:
        torch.set_num_threads(before)


def _imagine_here(jobs: Sequence[ImagineJob]) -> Iterator[list[RolloutGroup]]:
    if jobs:
        models = _load(jobs[0].simulator, jobs[0].config.solver_steps, jobs[0].config.chunks)
        yield from (_imagine(job, *models) for job in jobs)


def _imagine(job: ImagineJob, policy: Policy, env: WorldModelEnv) -> list[RolloutGroup]:
    return imagine_groups(
        policy,
        env,
        job.keyframes,
        group_size=job.config.group_size,
        chunks=job.config.chunks,
        temperature=job.config.temperature,
        discount=job.config.discount,
        seed=job.seed,
        versions=job.simulator.versions(),
    )


def _load(simulator: Simulator, solver_steps: int, chunks: int) -> tuple[Policy, WorldModelEnv]:
    return load_policy(simulator.policy)[0], make_env(simulator, solver_steps, chunks)


_models = lru_cache(maxsize=1)(_load)
"""Kept by a worker process from batch to batch. Checkpoint folders are never rewritten."""


def make_env(simulator: Simulator, solver_steps: int, chunks: int, every_frame: bool = True) -> WorldModelEnv:
    """The imagined environment of a world model and a reward classifier, at the latter's own threshold."""
    model, _ = load_world_model(simulator.world_model)
    reward, calibration, _ = load_reward(simulator.reward)
    config = ImaginationConfig(
        solver_steps=solver_steps,
        max_chunks=chunks,
        success_threshold=calibration.threshold,
        every_frame=every_frame,
    )
    return WorldModelEnv(model, reward.reward_function(embed_tensor), config, reward.outcome_function(embed_tensor))


def draw_keyframes(keyframes: Sequence[Keyframe], count: int, seed: int, *purpose: str | int) -> list[Keyframe]:
    """`count` of them without repetition (or all, if there are fewer)."""
    order = numpy_generator(seed, "draw_keyframes", *purpose).permutation(len(keyframes))
    return [keyframes[i] for i in order[:count]]
