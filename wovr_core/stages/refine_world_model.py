"""PACE: refine world model and reward on real episodes of the evolved policy; promote what got better.

A limited number of the new policy's episodes is split: most refine the models, the rest decide. Each refined
model replaces its predecessor only if it is better on the held-out ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from wovr_core.coevolution.promotion import HeldOutQuality, decide
from wovr_core.data.segments import split_ids
from wovr_core.errors import WovrError
from wovr_core.model_files import REWARD, WORLD_MODEL, load_reward, load_world_model, save_model
from wovr_core.reward.classifier import RewardClassifier
from wovr_core.reward.labels import label_episodes
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.train_reward import RewardTrainingConfig, calibrate_on, episode_logits, fit, render
from wovr_core.stages.train_world_model import TransformerTraining, fit_transformer
from wovr_core.types import CHUNK, Episode
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.motion import moving_region
from wovr_core.world_model.quality import imagine_episode
from wovr_core.world_model.windows import LatentWindows


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


def run(
    config: RefineConfig, inputs: RefineInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> RefineOutputs:
    """Refine both models, measure both versions on held-out new-policy episodes, promote or keep."""
    world_model, world_model_version = load_world_model(inputs.world_model)
    reward, _, reward_version = load_reward(inputs.reward)
    versions = {
        "episodes": ",".join(inputs.versions),
        "world_model": world_model_version,
        "reward": reward_version,
        "seed": str(inputs.seed),
    }
    folder = StageFolder(out_dir, "refine_world_model", config, versions, on_metrics)
    finished = folder.outputs(RefineOutputs)
    if finished:
        return finished
    old = load_named(inputs.old_episodes)
    new = list(load_named([inputs.new_episodes]).values())
    if len(new) <= config.held_out:
        raise WovrError(f"PACE holds out {config.held_out} new episodes but there are {len(new)}; collect more")
    train_ids, held_ids = split_ids([e.id for e in new], config.held_out)
    fresh = [e for e in new if e.id in train_ids]
    deciding = [e for e in new if e.id in held_ids]

    before = held_out_quality(world_model, reward, deciding, config.solver_steps, inputs.seed)
    # What was held out of the first training stays held out: the threshold is calibrated on it again.
    calibrating = [old[name] for name in inputs.calibration_episodes]
    known = [e for name, e in old.items() if name not in inputs.calibration_episodes]
    training = [*known, *fresh]
    weights = [1.0] * len(known) + [config.new_weight] * len(fresh)
    windows = LatentWindows(world_model.codec, [e.frames for e in training], [e.actions for e in training], weights)
    fit_transformer(folder, world_model, windows, config.transformer, inputs.seed)
    tuning = replace(inputs.reward_training, steps=config.reward_steps, learning_rate=config.reward_learning_rate)
    fit(folder, reward, world_model, label_episodes(training, tuning.labels), tuning, inputs.seed)
    calibration = calibrate_on(reward, world_model, calibrating, tuning.target_fpr)
    after = held_out_quality(world_model, reward, deciding, config.solver_steps, inputs.seed)

    promotion = decide(before, after)
    lineage = {"episodes": ",".join(inputs.versions), "parent": world_model_version}
    refined_model, refined_reward = folder.path / "world_model", folder.path / "reward"
    save_model(refined_model, WORLD_MODEL, world_model, lineage=lineage)
    save_model(
        refined_reward,
        REWARD,
        reward,
        lineage={"episodes": ",".join(inputs.versions), "parent": reward_version},
        extra={"calibration": calibration.to_dict()},
    )
    folder.log(
        config.transformer.steps,
        {f"before_{k}": v for k, v in asdict(before).items()} | {f"after_{k}": v for k, v in asdict(after).items()},
        "held_out",
    )
    return folder.finish(
        RefineOutputs(
            world_model=str(refined_model if promotion.world_model else inputs.world_model),
            reward=str(refined_reward if promotion.reward else inputs.reward),
            world_model_promoted=promotion.world_model,
            reward_promoted=promotion.reward,
            before=asdict(before),
            after=asdict(after),
            real_episodes=len(new),
        )
    )


def held_out_quality(
    world_model: WorldModel, reward: RewardClassifier, episodes: Sequence[Episode], solver_steps: int, seed: int
) -> HeldOutQuality:
    """Both models' errors on these episodes: closed-loop imagination, and the classifier's cross-entropy."""
    errors, log_losses = [], []
    for number, episode in enumerate(episodes):
        chunks = episode.length // CHUNK
        imagined = imagine_episode(world_model, episode.frames, episode.actions, chunks, solver_steps, seed + number)
        real = episode.frames[1 : len(imagined) + 1]
        moving = moving_region(episode.frames)[1 : len(imagined) + 1]
        difference = np.abs(imagined.astype(np.float32) - real.astype(np.float32)).mean(-1)
        errors.append(float(difference[moving].mean()))
        logits = episode_logits(reward, render(world_model, episode.frames), episode.task.instruction)
        scaled = logits / float(reward.temperature) + float(reward.bias)
        log_losses.append(float(np.mean(np.logaddexp(0, scaled) - episode.success * scaled)))
    return HeldOutQuality(float(np.mean(errors)), float(np.mean(log_losses)))
