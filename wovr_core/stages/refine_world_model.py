"""PACE: refine world model and reward on real episodes of the evolved policy; promote what got better.

A limited number of the new policy's episodes is split: most refine the models, the rest decide. Each refined
model replaces its predecessor only if it is better on the held-out ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wovr_core.coevolution.promotion import is_better
from wovr_core.data.corrections import CorrectionSet, corrections_version
from wovr_core.data.segments import split_ids
from wovr_core.errors import WovrError
from wovr_core.model_files import REWARD, WORLD_MODEL, load_reward, load_world_model, save_model, version_of
from wovr_core.reward.classifier import RewardClassifier
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.train_reward import RewardTrainingConfig, as_imagined, calibrate_on, episode_logits, fit
from wovr_core.stages.train_world_model import TransformerTraining, fit_transformer, save_last_weights
from wovr_core.types import CHUNK, Episode, FloatArray
from wovr_core.world_model.closed_loop import Stretch, imagine_stretches
from wovr_core.world_model.corrected_windows import weighted_sequences
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.motion import moving_error, moving_region
from wovr_core.world_model.windows import windows_for
from wovr_core.world_model.world_models import plugin_of


@dataclass(frozen=True)
class RefineConfig:
    transformer: TransformerTraining = field(default_factory=lambda: TransformerTraining(steps=300, learning_rate=2e-4))
    reward_steps: int = 200
    reward_learning_rate: float = 3e-4
    new_weight: float = 3.0
    """How much more often a new episode's windows are drawn than an old one's."""
    held_out: int = 4
    """New-policy episodes that decide on promotion."""
    solver_steps: int = 1
    promote: Literal["better", "always"] = "better"
    """Whether a refined model has to be better on them to take over; "always" is for studies of the refinement."""


@dataclass(frozen=True)
class RefineInputs:
    old_episodes: tuple[str, ...]
    new_episodes: str
    versions: tuple[str, ...]
    world_model: Path
    reward: Path
    calibration_episodes: tuple[str, ...]
    """Those of the old episodes that the reward was calibrated on, by `load_named`."""
    reward_training: RewardTrainingConfig
    """How the reward was trained: its refinement differs in length and rate only."""
    seed: int
    corrections: Path | None = None
    """A set of corrections (`data.corrections`): weighted samples of the world model, labels of the reward."""


@dataclass(frozen=True)
class RefineOutputs:
    world_model: str
    """The checkpoint to go on with: the refined one, or the old one."""
    reward: str
    world_model_promoted: bool
    reward_promoted: bool
    before: dict[str, float]
    after: dict[str, float]
    real_episodes: int
    corrections: str = ""
    """Version of the corrections that were learned, if any."""


def run(
    config: RefineConfig, inputs: RefineInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> RefineOutputs:
    """Refine both models, measure both versions on held-out new-policy episodes, promote or keep."""
    corrected = corrections_version(inputs.corrections)
    versions = {
        "episodes": ",".join(inputs.versions),
        "world_model": version_of(inputs.world_model),
        "reward": version_of(inputs.reward),
        "seed": str(inputs.seed),
    } | corrected
    folder = StageFolder(out_dir, "refine_world_model", config, versions, on_metrics)
    finished = folder.outputs(RefineOutputs)
    if finished:
        return finished
    world_model, world_model_version = load_world_model(inputs.world_model)
    reward, _, reward_version = load_reward(inputs.reward)
    old = load_named(inputs.old_episodes)
    new = list(load_named([inputs.new_episodes]).values())
    if len(new) <= config.held_out:
        raise WovrError(
            f"PACE holds out {config.held_out} of the new policy's episodes and learns from the others, but there are "
            f"only {len(new)}: collect more, or set refine.held_out lower"
        )
    train_ids, held_ids = split_ids([e.id for e in new], config.held_out)
    fresh = [e for e in new if e.id in train_ids]
    deciding = [e for e in new if e.id in held_ids]

    # What was held out of the first training stays held out: the threshold is calibrated on it again.
    calibrating = [old[name] for name in inputs.calibration_episodes]
    known = [e for name, e in old.items() if name not in inputs.calibration_episodes]
    training = [*known, *fresh]
    weights: list[float | FloatArray] = [*([1.0] * len(known)), *([config.new_weight] * len(fresh))]
    corrections = CorrectionSet(inputs.corrections) if inputs.corrections else None
    sequences = weighted_sequences(corrections) if corrections else []
    error_before = world_model_error(world_model, deciding, config.solver_steps, inputs.seed)
    plugin = plugin_of(world_model.config)
    last = None
    if plugin:
        if sequences:
            raise WovrError("this world model is a plug-in's: it cannot learn corrections")
        plugin.train(world_model, training, inputs.seed, folder.log)
    else:
        windows = windows_for(
            world_model.codec,
            [*(e.frames for e in training), *(s.frames for s in sequences)],
            [*(e.actions for e in training), *(s.actions for s in sequences)],
            [*weights, *(s.weights for s in sequences)],
        )
        last = fit_transformer(folder, world_model, windows, config.transformer, inputs.seed)
    error_after = world_model_error(world_model, deciding, config.solver_steps, inputs.seed)
    lineage = {"episodes": ",".join(inputs.versions)} | corrected
    refined_model, refined_reward = folder.path / "world_model", folder.path / "reward"
    refined = save_model(refined_model, WORLD_MODEL, world_model, lineage=lineage | {"parent": world_model_version})
    save_last_weights(refined_model, world_model, last, lineage | {"average": refined})
    model_promoted = config.promote == "always" or is_better(error_before, error_after)
    if not model_promoted:
        world_model, _ = load_world_model(inputs.world_model)

    # The reward is refined on, and judged by, the imagination that it will serve.
    tuning = replace(inputs.reward_training, steps=config.reward_steps, learning_rate=config.reward_learning_rate)
    loss_before = reward_log_loss(reward, world_model, deciding, tuning, inputs.seed)
    fit(folder, reward, world_model, training, tuning, inputs.seed, corrections)
    calibration = calibrate_on(reward, world_model, calibrating, tuning, inputs.seed)
    loss_after = reward_log_loss(reward, world_model, deciding, tuning, inputs.seed)
    save_model(
        refined_reward,
        REWARD,
        reward,
        lineage=lineage | {"parent": reward_version},
        extra={"calibration": calibration.to_dict()},
    )
    before = {"world_model_error": error_before, "reward_log_loss": loss_before}
    after = {"world_model_error": error_after, "reward_log_loss": loss_after}
    reward_promoted = config.promote == "always" or is_better(loss_before, loss_after)
    folder.log(
        config.transformer.steps,
        {f"before_{k}": v for k, v in before.items()} | {f"after_{k}": v for k, v in after.items()},
        "held_out",
    )
    return folder.finish(
        RefineOutputs(
            world_model=str(refined_model if model_promoted else inputs.world_model),
            reward=str(refined_reward if reward_promoted else inputs.reward),
            world_model_promoted=model_promoted,
            reward_promoted=reward_promoted,
            before=before,
            after=after,
            real_episodes=len(new),
            corrections=corrected.get("corrections", ""),
        )
    )


def world_model_error(model: WorldModel, episodes: Sequence[Episode], solver_steps: int, seed: int) -> float:
    """Mean absolute pixel error of closed-loop imagination over the moving region, in [0, 255].

    Episodes shorter than a chunk say nothing about imagination; NaN where all are.
    """
    errors = []
    stretches = [Stretch(e.frames, e.actions, e.length // CHUNK, seed + n) for n, e in enumerate(episodes)]
    for episode, imagined in zip(episodes, imagine_stretches(model, stretches, solver_steps), strict=True):
        if not len(imagined):
            continue
        real = episode.frames[1 : len(imagined) + 1]
        errors.append(moving_error(imagined, real, moving_region(episode.frames)[1 : len(imagined) + 1]))
    return float(np.mean(errors)) if errors else float("nan")


def reward_log_loss(
    reward: RewardClassifier,
    model: WorldModel,
    episodes: Sequence[Episode],
    config: RewardTrainingConfig,
    seed: int,
) -> float:
    """Binary cross-entropy per frame on the episodes as the world model draws them."""
    losses = []
    for episode, drawn in zip(episodes, as_imagined(model, episodes, config, seed), strict=True):
        logits = episode_logits(reward, drawn)
        scaled = logits / float(reward.temperature) + float(reward.bias)
        losses.append(float(np.mean(np.logaddexp(0, scaled) - episode.success * scaled)))
    return float(np.mean(losses))
