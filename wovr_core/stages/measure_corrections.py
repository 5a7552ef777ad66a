"""What corrections were to mend, measured on audited rollouts that no correction was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wovr_core.data.episode_files import SUFFIX, read_episode, read_rollout
from wovr_core.data.segments import keyframe_of
from wovr_core.errors import WovrError
from wovr_core.imagination import imagine_actions
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import load_reward
from wovr_core.reward.calibration import sigmoid
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator, make_env
from wovr_core.statistics import roc_area
from wovr_core.types import CHUNK, BoolArray, Episode, FloatArray, Rollout
from wovr_core.world_model.env import WorldModelEnv
from wovr_core.world_model.motion import moving_error, moving_region


@dataclass(frozen=True)
class MeasureConfig:
    solver_steps: int = 1


@dataclass(frozen=True)
class MeasureInputs:
    simulator: Simulator
    """World model and reward to be measured."""
    rollouts: str
    replays: str
    version: str
    """Of the rollouts."""
    held_out: tuple[str, ...]
    """Ids: audited rollouts that nothing was learned from."""
    flagged: tuple[str, ...]
    """Those of them that are false successes."""
    seed: int


@dataclass(frozen=True)
class MeasureOutputs:
    world_model_error: float | None
    """Mean absolute pixel error of what moves, of 255, imagining the flagged situations under their actions again."""
    still_false: list[int]
    """[those in which success is imagined again, flagged situations]"""
    reward_auroc: float | None
    """Over the frames of all held-out rollouts as they were imagined first; None without both classes."""
    reward_false_positives: list[int]
    """[rollouts of which some frame passes the threshold, held-out rollouts without real success]"""
    reward_true_positives: list[int]
    """[rollouts of which some really successful frame passes, held-out rollouts with real success]"""


def run(
    config: MeasureConfig, inputs: MeasureInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> MeasureOutputs:
    """Imagine the flagged situations again, and judge the held-out rollouts. Raises WovrError without any of these."""
    if not inputs.held_out:
        raise WovrError("no held-out rollouts to measure on")
    held = ",".join(sorted(inputs.held_out))
    versions = inputs.simulator.versions() | {"rollouts": inputs.version, "held_out": held, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "measure_corrections", config, versions, on_metrics)
    finished = folder.outputs(MeasureOutputs)
    if finished:
        return finished
    reward, calibration, _ = load_reward(inputs.simulator.reward)
    env: WorldModelEnv | None = None
    errors, again, scores, labels = [], [], [], []
    for name in sorted(inputs.held_out):
        rollout = read_rollout(Path(inputs.rollouts) / f"{name}{SUFFIX}")
        real = read_episode(Path(inputs.replays) / f"{name}{SUFFIX}")
        embedding = embed_tensor([rollout.task.instruction]).expand(len(rollout.frames), -1)
        logits = reward.logits(torch.from_numpy(rollout.frames), embedding).numpy().astype(np.float64)
        scores.append(sigmoid(logits / float(reward.temperature) + float(reward.bias)).astype(np.float32)[1:])
        labels.append(real.success[1:])
        if name in inputs.flagged:
            env = env or make_env(inputs.simulator, config.solver_steps, len(rollout.actions) // CHUNK)
            error, succeeded = _imagine_again(env, rollout, real, calibration.threshold)
            errors.append(error)
            again.append(succeeded)
    area = roc_area(np.concatenate(scores), np.concatenate(labels))
    false, failed, true, won = _passing(scores, labels, calibration.threshold)
    outputs = MeasureOutputs(
        world_model_error=float(np.mean(errors)) if errors else None,
        still_false=[sum(again), len(again)],
        reward_auroc=None if np.isnan(area) else area,
        reward_false_positives=[false, failed],
        reward_true_positives=[true, won],
    )
    folder.log(len(scores), {"false_positives": false, "failures": failed, "still_false": sum(again)})
    return folder.finish(outputs)


def _passing(scores: Sequence[FloatArray], labels: Sequence[BoolArray], threshold: float) -> tuple[int, int, int, int]:
    pairs = list(zip(scores, labels, strict=True))
    failed = [p for p, success in pairs if not success.any()]
    won = [p[success] for p, success in pairs if success.any()]
    return (
        sum(bool((p >= threshold).any()) for p in failed),
        len(failed),
        sum(bool((p >= threshold).any()) for p in won),
        len(won),
    )


def _imagine_again(env: WorldModelEnv, rollout: Rollout, real: Episode, threshold: float) -> tuple[float, bool]:
    frames, p_success = imagine_actions(env, keyframe_of(rollout), rollout.actions, rollout.sampler_seed)
    error = moving_error(frames[1:], real.frames[1:], moving_region(real.frames)[1:])
    return error, bool((p_success[1:] >= threshold).any())
