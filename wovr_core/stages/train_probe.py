"""Train the position probe on real frames: the measuring instrument of the object-state error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from wovr_core.checkpoints import load_checkpoint, save_checkpoint
from wovr_core.config import from_dict
from wovr_core.data.segments import split_ids
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.positions import positions_of
from wovr_core.stages.training import Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode, FloatArray
from wovr_core.world_model.measures.probe import THINGS, PositionProbe, ProbeConfig, build

KIND = "probe"


@dataclass(frozen=True)
class ProbeTrainingConfig:
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    steps: int = 1500
    batch: int = 64
    learning_rate: float = 2e-3
    stride: int = 3
    """Every n-th frame of an episode is labelled; neighbours look alike."""
    held_out: int = 6
    """Episodes on which the probe's own error is measured."""


@dataclass(frozen=True)
class ProbeInputs:
    env: LiberoConfig
    episodes: tuple[str, ...]
    versions: tuple[str, ...]
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class ProbeOutputs:
    probe: str
    version: str
    error_cm: dict[str, float]
    """thing -> mean distance on frames of held-out episodes: no imagined frame can be measured better."""


def run(
    config: ProbeTrainingConfig, inputs: ProbeInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> ProbeOutputs:
    """Label frames by restoring their states, train, and measure on held-out episodes."""
    versions = {"env": str(inputs.env), "episodes": ",".join(inputs.versions), "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "train_probe", config, versions, on_metrics)
    finished = folder.outputs(ProbeOutputs)
    if finished:
        return finished
    episodes = load_named(inputs.episodes)
    steps = {name: range(0, e.length + 1, config.stride) for name, e in episodes.items()}
    found = positions_of(list(episodes.values()), [list(s) for s in steps.values()], inputs.env, inputs.pool)
    positions = dict(zip(episodes, found, strict=True))
    train_ids, held_ids = split_ids(list(episodes), config.held_out)

    frames = torch.from_numpy(np.concatenate([episodes[i].frames[:: config.stride] for i in train_ids]))
    tasks = torch.tensor([episodes[i].task.task for i in train_ids for _ in steps[i]])
    targets = torch.from_numpy(np.concatenate([positions[i] for i in train_ids]))
    probe = build(config.probe, derive_seed(inputs.seed, "probe_weights"))
    probe.fit_scale(targets)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=0.0, weight_decay=1e-4, fused=True)
    with Training(folder, steps=config.steps, modules={"probe": probe}, optimizer=optimizer) as training:
        for step in training:
            generator = torch_generator(inputs.seed, "probe", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps))
            chosen = torch.randint(len(frames), (config.batch,), generator=generator)
            loss, metrics = probe.loss(frames[chosen], tasks[chosen], targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
            training.log(metrics)
    probe.eval()
    held = [(episodes[i], positions[i]) for i in held_ids]
    error = _error(probe, held, config.stride)
    path = folder.path / "probe"
    version = save_checkpoint(
        path, KIND, asdict(config.probe), probe.state_dict(), lineage={"episodes": ",".join(inputs.versions)}
    )
    folder.log(config.steps, {f"probe/{k}_cm": v for k, v in error.items()}, "held_out")
    return folder.finish(ProbeOutputs(str(path), version, error))


def load_probe(path: Path) -> PositionProbe:
    """The probe in evaluation mode."""
    checkpoint = load_checkpoint(path, KIND)
    probe = build(from_dict(ProbeConfig, checkpoint.config, str(path)), 0)
    checkpoint.load_into(probe, path)
    return probe.eval()


def for_recipe(image_size: int) -> ProbeTrainingConfig:
    """The defaults at another frame size."""
    return ProbeTrainingConfig(probe=replace(ProbeConfig(), image_size=image_size))


def _error(probe: PositionProbe, held: Sequence[tuple[Episode, FloatArray]], stride: int) -> dict[str, float]:
    distances = [np.linalg.norm(probe.locate(e.frames[::stride], e.task.task) - truth, axis=-1) for e, truth in held]
    mean = 100 * np.concatenate(distances).mean(axis=0)
    return {thing: round(float(v), 3) for thing, v in zip(THINGS, mean, strict=True)}
