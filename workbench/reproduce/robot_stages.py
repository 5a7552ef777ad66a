"""The robot study's own stages: recording in the lab, and recorded actions imagined beside the recorded film."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_episode, write_episode
from wovr_core.errors import Interrupted, WovrError
from wovr_core.interrupts import stop_requested
from wovr_core.model_files import load_policy, load_world_model, version_of
from wovr_core.pictures import psnr
from wovr_core.policy.acting import PolicyActor
from wovr_core.robots.evaluation.video import write_video
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.pictures import PictureRecipe, upright
from wovr_core.robots.runner import RunnerConfig, run_trial
from wovr_core.seeding import derive_seed
from wovr_core.stages import (
    collect,
)
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.types import CHUNK


@dataclass(frozen=True)
class RecordConfig:
    """Episodes recorded through a robot's runner."""

    episodes: int
    temperature: float
    max_steps: int


@dataclass(frozen=True)
class RecordInputs:
    lab: LabConfig
    policy: Path
    seed: int


@dataclass(frozen=True)
class BesideConfig:
    episodes: int
    solver_steps: int


@dataclass(frozen=True)
class BesideInputs:
    episodes: str
    version: str
    world_model: Path
    seed: int


@dataclass(frozen=True)
class BesideOutputs:
    films: list[str]
    """mp4, recorded on the left, imagined on the right."""
    psnr_moving: list[float]
    """dB of each film, where something moved (arm, gripper, object)."""
    frozen: list[float]
    """The same if nothing had moved."""


def record(
    config: RecordConfig, inputs: RecordInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> collect.CollectOutputs:
    """A stage: a policy's episodes in the lab from training conditions, each saved before the next begins."""
    version = version_of(inputs.policy)
    versions = {"lab": str(inputs.lab), "policy": version, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "record_robot", config, versions, on_metrics)
    finished = folder.outputs(collect.CollectOutputs)
    if finished:
        return finished
    episodes = folder.path / "episodes"
    names = [f"robot-{index:04d}" for index in range(config.episodes)]
    missing = [name for name in names if not (episodes / f"{name}{SUFFIX}").exists()]
    runner = RunnerConfig(max_steps=config.max_steps, picture=PictureRecipe(size=inputs.lab.env.size))
    policy, _ = load_policy(inputs.policy)
    with SimulatedLab(inputs.lab) as lab:
        for name in missing:
            lab.arrange(derive_seed(inputs.seed, "robot_condition", name) % 2**31)
            seed = derive_seed(inputs.seed, "robot_sampling", name)
            run = run_trial(
                lab, lab.camera, PolicyActor(policy, config.temperature), lab.task, seed, runner,
                episode_id=name, source=version, clock=lab.clock, world=lab,
            )  # fmt: skip
            if run.how == "interrupted" or stop_requested():
                raise Interrupted("stopped recording; the same command goes on from there")
            if run.how != "finished" or run.episode is None:
                raise WovrError(f"{name} could not be recorded: {run.how}, {run.why}")
            write_episode(episodes, replace(run.episode, info=run.episode.info | {"view": inputs.lab.env.view}))
            folder.log(names.index(name) + 1, {"success": run.episode.succeeded, "length": run.episode.length})
    recorded = EpisodeSet(episodes)
    summaries = recorded.summaries()
    return folder.finish(
        collect.CollectOutputs(
            episodes=str(episodes),
            version=recorded.write_index(),
            count=len(summaries),
            successes=sum(s.succeeded for s in summaries),
            steps=sum(s.length for s in summaries),
        )
    )


def beside(
    config: BesideConfig, inputs: BesideInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> BesideOutputs:
    """A stage: recorded actions imagined in closed loop from the first frame, beside the recorded film."""
    from wovr_core.world_model.closed_loop import imagine_episode
    from wovr_core.world_model.motion import moving_region

    versions = {"episodes": inputs.version, "world_model": version_of(inputs.world_model), "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "beside", config, versions, on_metrics)
    finished = folder.outputs(BesideOutputs)
    if finished:
        return finished
    model, _ = load_world_model(inputs.world_model)
    films, moving, frozen = [], [], []
    for name, path in list(EpisodeSet(Path(inputs.episodes)).paths.items())[: config.episodes]:
        episode = read_episode(path)
        chunks = episode.length // CHUNK
        if not chunks:
            continue
        seed = derive_seed(inputs.seed, "beside", name)
        imagined = imagine_episode(model, episode.frames, episode.actions, chunks, config.solver_steps, seed)
        real = episode.frames[1 : 1 + len(imagined)]
        film = folder.path / "films" / f"{name}.mp4"
        write_video(film, np.concatenate([upright(real), upright(imagined)], axis=2), 20.0)
        films.append(str(film))
        region = moving_region(episode.frames)[1 : 1 + len(imagined)]
        still = np.broadcast_to(episode.frames[:1], real.shape)
        moving.append(round(psnr(imagined, real, region if region.any() else None), 2))
        frozen.append(round(psnr(still, real, region if region.any() else None), 2))
    if films:
        folder.log(len(films), {"psnr_moving": float(np.mean(moving)), "frozen": float(np.mean(frozen))})
    return folder.finish(BesideOutputs(films, moving, frozen))
