"""Closed-loop quality of a world model on long held-out episodes: pictures, motion, and where things are.

Every episode is imagined from its first frame under its own actions. At each horizon the last eight imagined frames
are compared with the real ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.model_files import load_world_model, version_of
from wovr_core.pictures import decibels, squared_error, ssim
from wovr_core.seeding import derive_seed
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.positions import positions_of
from wovr_core.stages.progress import Progress
from wovr_core.stages.train_probe import load_probe
from wovr_core.types import CHUNK, Episode, FloatArray, Frames
from wovr_core.world_model.closed_loop import Stretch, imagine_stretches
from wovr_core.world_model.measures.optical_flow import motion_error
from wovr_core.world_model.measures.probe import THINGS, PositionProbe
from wovr_core.world_model.measures.random_features import random_feature_distance
from wovr_core.world_model.motion import moving_region


@dataclass(frozen=True)
class MeasureConfig:
    horizons: tuple[int, ...] = (64, 128, 256, 512)
    """Imagined frames, multiples of 8; those beyond an episode are left out for it."""
    solver_steps: int = 1


@dataclass(frozen=True)
class MeasureInputs:
    env: LiberoConfig
    world_model: Path
    probe: Path
    episodes: tuple[str, ...]
    """Folders of real episodes that the world model was not trained on."""
    versions: tuple[str, ...]
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class MeasureOutputs:
    rows: list[dict[str, float | None]]
    """Per horizon the means over the episodes that reach it; see `compare` for the keys."""
    frames_per_second: float
    """Imagined and decoded, all episodes together in batches."""


def run(
    config: MeasureConfig, inputs: MeasureInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> MeasureOutputs:
    """Imagine and compare every episode. Raises WovrError for a horizon that is no whole number of chunks."""
    if any(h % CHUNK or h < CHUNK for h in config.horizons):
        raise WovrError(f"horizons must be multiples of {CHUNK}, got {config.horizons}")
    versions = {
        "world_model": version_of(inputs.world_model),
        "episodes": ",".join(inputs.versions),
        "seed": str(inputs.seed),
    }
    folder = StageFolder(out_dir, "measure_world_model", config, versions, on_metrics)
    finished = folder.outputs(MeasureOutputs)
    if finished:
        return finished
    model, _ = load_world_model(inputs.world_model)
    probe = load_probe(inputs.probe)
    episodes = list(load_named(inputs.episodes).values())
    reached = [[h for h in sorted(config.horizons) if h <= e.length] for e in episodes]
    truths = positions_of(episodes, [[0, *hs] for hs in reached], inputs.env, inputs.pool)
    progress = Progress(folder.title, len(episodes), "episode")
    collected: dict[int, list[dict[str, float]]] = {h: [] for h in sorted(config.horizons)}
    stretches = [
        Stretch(e.frames, e.actions, max(hs, default=0) // CHUNK, derive_seed(inputs.seed, "measure", e.id))
        for e, hs in zip(episodes, reached, strict=True)
    ]
    began = time.perf_counter()
    imagined = imagine_stretches(model, stretches, config.solver_steps)
    seconds = time.perf_counter() - began
    for episode, horizons, truth, made in zip(episodes, reached, truths, imagined, strict=True):
        progress.update(1)
        for h, now in zip(horizons, truth[1:], strict=True):
            collected[h].append(compare(probe, episode, made, h, truth[0], now))
    progress.close()
    rows = [_row(h, found) for h, found in collected.items()]
    folder.log(len(episodes), {f"psnr_moving_{r['horizon']:.0f}": r["psnr_moving"] or 0.0 for r in rows})
    return folder.finish(MeasureOutputs(rows, round(sum(map(len, imagined)) / max(seconds, 1e-9), 2)))


def compare(
    probe: PositionProbe, episode: Episode, made: Frames, horizon: int, first: FloatArray, now: FloatArray
) -> dict[str, float]:
    """One episode at one horizon.

    Args:
        made: (T, H, W, 3), imagined; made[t] stands against frames[t + 1].
        first, now: (P, 3) the true positions at the episode's beginning and at the horizon, in m.

    Returns:
        `mse`, `mse_moving` and `mse_moving_still` (if nothing moved) in grey levels squared, `ssim`,
        `random_feature_distance`, `flow_error` and `flow_still` in pixels per four frames; in cm, for gripper and
        object: `*_error` of the probe on imagined frames, `*_floor` of the probe on the real ones, and `*_still`, the
        distance travelled since the beginning.
    """
    part = slice(horizon - CHUNK + 1, horizon + 1)
    real, guess = episode.frames[part], made[horizon - CHUNK : horizon]
    region = moving_region(episode.frames)[part]
    still = np.broadcast_to(episode.frames[:1], real.shape)
    flow, flow_still = motion_error(real, guess, region)
    read, floor = (probe.locate(f[-1:], episode.task.task)[0] for f in (guess, real))
    found = {
        "mse": squared_error(guess, real),
        "mse_moving": squared_error(guess, real, region),
        "mse_moving_still": squared_error(still, real, region),
        "ssim": ssim(guess, real),
        "random_feature_distance": random_feature_distance(guess, real),
        "flow_error": flow,
        "flow_still": flow_still,
    }
    for i, thing in enumerate(THINGS):
        for name, place in (("error", read[i]), ("floor", floor[i]), ("still", first[i])):
            found[f"{thing}_{name}_cm"] = 100 * float(np.linalg.norm(place - now[i]))
    return found


def _row(horizon: int, found: Sequence[dict[str, float]]) -> dict[str, float | None]:
    row: dict[str, float | None] = {"horizon": horizon, "episodes": len(found)}
    if not found:
        return row | dict.fromkeys(("psnr", "psnr_moving"))
    means = {key: _mean([f[key] for f in found]) for key in found[0]}
    for name in ("mse", "mse_moving", "mse_moving_still"):
        value = means.pop(name)
        row[name.replace("mse", "psnr")] = None if value is None else round(decibels(value), 3)
    return row | {key: None if v is None else round(v, 5) for key, v in means.items()}


def _mean(values: Sequence[float]) -> float | None:
    """Over the episodes in which something moved; None if none did."""
    known = [v for v in values if v == v]
    return float(np.mean(known)) if known else None
