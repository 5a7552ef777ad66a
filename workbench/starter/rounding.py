"""The starter's models as bf16, and the rollouts that they imagine.

The models are rounded *before* they imagine: whoever loads the pack's weights (loading upcasts them) imagines with the
very numbers that drew its rollouts. How far rounding moves imagination is measured all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.branch import keyframe_of
from wovr_core import recipes
from wovr_core.checkpoints import load_checkpoint, save_checkpoint
from wovr_core.config import from_dict
from wovr_core.data.episode_files import EpisodeSet, read_rollout
from wovr_core.envs.job_pool import JobPool
from wovr_core.errors import WovrError
from wovr_core.files import read_json, write_json
from wovr_core.imagination import imagine_actions_many
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL
from wovr_core.models_in_use import models_in_use
from wovr_core.recipes import Recipe
from wovr_core.stages import audit, imagine
from wovr_core.stages.imagine import Simulator
from wovr_core.types import FloatArray, Frames, Rollout

_SMALLEST_MATRIX = 1024
"""Numbers; a tensor with fewer stays float32: it costs nothing, and norms and bins are the sensitive ones."""


@dataclass(frozen=True)
class Rounded:
    """Where `imagine_rounded` left what."""

    recipe: Recipe
    folder: Path
    simulator: Simulator
    """The three checkpoints as bf16."""
    exact: Simulator
    """The run's own."""
    precision: Mapping[str, Any]


def recipe() -> Recipe:
    """The demo, with a world model of a fifth of the size, so that all models fit into the package."""
    whole = recipes.demo()
    small = replace(whole.world_model.model, layers=4, heads=2, codec=replace(whole.world_model.model.codec, width=40))
    training = replace(
        whole.world_model,
        model=small,
        autoencoder=replace(whole.world_model.autoencoder, steps=800),
        transformer=replace(whole.world_model.transformer, steps=900),
    )
    return replace(whole, threads=1, world_model=training)


def imagine_rounded(
    source: Path, folder: Path, pool: JobPool, on_stage: Callable[[str], None] = lambda name: None
) -> Rounded:
    """Round the final models of a finished run, imagine with them, audit, and measure what rounding changed.

    A step that is finished in `folder` is not run again.

    Raises:
        WovrError: `source` is no run, or its loop is not finished.
    """
    settings = recipe_of(source)
    torch.set_num_threads(settings.threads)
    exact = final_models(source)
    rounded = Simulator(*(folder / "bf16" / kind for kind in (POLICY, WORLD_MODEL, REWARD)))
    for kind, path in vars(exact).items():
        round_checkpoint(path, getattr(rounded, kind), kind)

    on_stage("imagine")
    starts = source / "keyframes_evolved"
    version = str(read_json(starts / "outputs.json")["outputs"]["version"])
    inputs = imagine.ImagineInputs(rounded, str(starts / "keyframes.safetensors"), version, settings.seed)
    imagined = imagine.run(settings.imagine, inputs, folder / "imagine")
    on_stage("audit")
    replays = audit.AuditInputs(settings.env, imagined.rollouts, imagined.version, pool)
    audit.run(settings.audit, replays, folder / "audit")
    on_stage("precision")
    record = folder / "precision.json"
    if not record.is_file():
        rollouts = read_rollouts(Path(imagined.rollouts))
        write_json(record, compare_precision(exact, rounded, rollouts, settings.imagine))
    return Rounded(settings, folder, rounded, exact, dict(read_json(record)))


def recipe_of(source: Path) -> Recipe:
    """The recipe of a finished run. Raises WovrError."""
    if not (source / "run.json").is_file():
        raise WovrError(f"there is no run at {source}; make one with `wovr reproduce starter`")
    if not (source / "evaluate" / "outputs.json").is_file():
        raise WovrError(f"{source} is not finished; go on with `wovr reproduce starter --run {source.name}`")
    return from_dict(Recipe, read_json(source / "run.json")["config"], f"{source}/run.json")


def final_models(source: Path) -> Simulator:
    """What a finished run ended with: the last policy, and of world model and reward the refined ones if promoted."""
    return Simulator(**models_in_use(source))


def read_rollouts(folder: Path) -> list[Rollout]:
    """All rollouts of a folder, by name."""
    return [read_rollout(path) for path in EpisodeSet(folder).paths.values()]


def round_checkpoint(path: Path, to: Path, kind: str) -> str:
    """Write a checkpoint again with its matrices rounded to bf16 (half to even); returns the new version.

    Loading it upcasts: `load_state_dict` copies into float32 parameters.
    """
    found = load_checkpoint(path, kind)
    tensors = {name: rounded(tensor) for name, tensor in found.tensors.items()}
    lineage = {**found.lineage, "parent": found.version}
    return save_checkpoint(to, kind, found.config, tensors, lineage=lineage, extra={**found.extra, "stored_as": "bf16"})


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    """As bf16 where it is a float32 matrix of some size, else as it is."""
    matrix = tensor.dtype == torch.float32 and tensor.ndim >= 2 and tensor.numel() >= _SMALLEST_MATRIX
    return tensor.to(torch.bfloat16) if matrix else tensor


def compare_precision(
    exact: Simulator, bf16: Simulator, rollouts: list[Rollout], config: imagine.ImagineConfig, most: int = 16
) -> dict[str, Any]:
    """How far imagination moves when the weights are rounded: the same starts, actions and noise through both.

    Returns:
        {versions, rollouts, frames: [8, ...], psnr: [dB at that frame, over all rollouts], psnr_worst,
        p_success_largest_change, verdicts_changed}.
    """
    chosen = rollouts[:: max(1, len(rollouts) // most)][:most]
    starts = [keyframe_of(r) for r in chosen]
    actions, seeds = np.stack([r.actions for r in chosen]), [r.sampler_seed for r in chosen]

    def drawn(simulator: Simulator) -> tuple[Frames, FloatArray, float]:
        env = imagine.make_env(simulator, config.solver_steps, config.chunks)
        return *imagine_actions_many(env, starts, actions, seeds), env.config.success_threshold

    (frames, p, threshold), (other, other_p, _) = drawn(exact), drawn(bf16)
    last = frames.shape[1] - 1
    at = sorted({k for k in (8, 32, 64) if k < last} | {last})
    each = [psnr(frames[i, 1:], other[i, 1:]) for i in range(len(chosen))]
    ends = (p[:, 1:] >= threshold).any(1) != (other_p[:, 1:] >= threshold).any(1)
    return {
        "versions": {"exact": exact.versions(), "bf16": bf16.versions()},
        "rollouts": len(chosen),
        "frames": at,
        "psnr": [round(psnr(frames[:, k], other[:, k]), 2) for k in at],
        "psnr_all": round(psnr(frames[:, 1:], other[:, 1:]), 2),
        "psnr_worst": round(min(each), 2),
        "p_success_largest_change": round(float(np.abs(p - other_p).max()), 4),
        "verdicts_changed": int(ends.sum()),
    }


def psnr(one: Frames, other: Frames) -> float:
    """Of two equal shapes, in dB with a peak of 255; 99 for equal pictures."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 99.0 if error == 0 else min(99.0, 10 * float(np.log10(255.0**2 / error)))
