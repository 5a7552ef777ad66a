"""Train the success classifier and calibrate it on held-out episodes.

It will judge imagined frames, so it is also shown the training episodes as the world model imagines them, each
frame labelled with what really happened at that instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from wovr_core.data.corrections import CorrectionSet, corrections_version
from wovr_core.data.segments import split_ids
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import REWARD, load_world_model, save_model, version_of
from wovr_core.precision import autocast
from wovr_core.reward.calibration import Calibration, calibrate
from wovr_core.reward.classifier import RewardClassifier, RewardConfig, build
from wovr_core.reward.corrected_labels import label_corrections
from wovr_core.reward.labels import LabelConfig, balanced_weights, label_episodes, merge, outcomes_of
from wovr_core.seeding import derive_seed, numpy_generator, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.training import Training, set_learning_rate, warmup_cosine
from wovr_core.statistics import roc_area
from wovr_core.types import CHUNK, Episode, FloatArray, Frames
from wovr_core.world_model.closed_loop import Stretch, imagine_stretches
from wovr_core.world_model.model import WorldModel


@dataclass(frozen=True)
class RewardTrainingConfig:
    model: RewardConfig = field(default_factory=RewardConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    steps: int = 600
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    imagined_chunks: int = 9
    """Longest closed-loop imagination that the classifier is trained and calibrated on; at least 3."""
    solver_steps: int = 1
    held_out: int = 12
    """Episodes for calibration."""
    target_fpr: float = 0.05
    """False positives per failed held-out episode that the threshold may let through."""


@dataclass(frozen=True)
class RewardInputs:
    episodes: tuple[str, ...]
    versions: tuple[str, ...]
    world_model: Path
    seed: int
    corrections: Path | None = None
    """A set of corrections (`data.corrections`), whose labelled frames are learned too."""


@dataclass(frozen=True)
class RewardOutputs:
    reward: str
    version: str
    calibration: dict[str, object]
    held_out: list[str]
    outcome_auroc: float | None = None
    """Of the predicted outcome on frames imagined in the midst of held-out episodes, successful ones left out; None
    where nothing is predicted, or all ended alike."""
    corrections: str = ""
    """Version of the corrections that were learned, if any."""


def run(
    config: RewardTrainingConfig, inputs: RewardInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> RewardOutputs:
    """Train, calibrate on held-out episodes, and choose the threshold for the stated false-positive rate."""
    corrected = corrections_version(inputs.corrections)
    versions = {
        "episodes": ",".join(inputs.versions),
        "world_model": version_of(inputs.world_model),
        "seed": str(inputs.seed),
    } | corrected
    folder = StageFolder(out_dir, "train_reward", config, versions, on_metrics)
    finished = folder.outputs(RewardOutputs)
    if finished:
        return finished
    world_model, _ = load_world_model(inputs.world_model)
    episodes = load_named(inputs.episodes)
    train_ids, held_ids = split_ids(list(episodes), config.held_out)

    classifier = build(replace(config.model, seed=derive_seed(inputs.seed, "reward_weights")))
    corrections = CorrectionSet(inputs.corrections) if inputs.corrections else None
    fit(folder, classifier, world_model, [episodes[i] for i in train_ids], config, inputs.seed, corrections)
    calibration = calibrate_on(classifier, world_model, [episodes[i] for i in held_ids], config, inputs.seed)

    path = folder.path / "reward"
    lineage = {"episodes": ",".join(inputs.versions), "world_model": version_of(inputs.world_model)} | corrected
    version = save_model(path, REWARD, classifier, lineage=lineage, extra={"calibration": calibration.to_dict()})
    auroc = outcome_auroc(classifier, world_model, [episodes[i] for i in held_ids], config, inputs.seed)
    predicted = {} if auroc is None else {"outcome_auroc": auroc}
    measured = {"auroc": calibration.auroc, "threshold": calibration.threshold}
    folder.log(config.steps, measured | predicted, "calibration")
    return folder.finish(
        RewardOutputs(str(path), version, calibration.to_dict(), held_ids, auroc, corrected.get("corrections", ""))
    )


def fit(
    folder: StageFolder,
    classifier: RewardClassifier,
    world_model: WorldModel,
    episodes: Sequence[Episode],
    config: RewardTrainingConfig,
    seed: int,
    corrections: CorrectionSet | None = None,
) -> None:
    """Train on labelled frames; half of each batch is real, half as the world model draws the same instants.

    Corrections add theirs: each as it was imagined, beside what was real then.
    """
    samples = label_episodes(episodes, config.labels)
    imagined = label_episodes(as_imagined(world_model, episodes, config, seed), config.labels)
    if config.model.outcome:  # which is asked for in the midst of an episode, too
        midst = label_episodes(as_imagined(world_model, episodes, config, seed, midst=True), config.labels)
        samples, imagined = merge([samples, samples]), merge([imagined, midst])
    corrected = label_corrections(corrections) if corrections else None
    if corrected:
        samples, imagined = merge([samples, corrected[0]]), merge([imagined, corrected[1]])
    real, drawn = torch.from_numpy(samples.frames), torch.from_numpy(imagined.frames)
    labels, outcomes = torch.from_numpy(samples.labels), torch.from_numpy(samples.outcomes)
    weights = torch.from_numpy(balanced_weights(samples.labels, samples.weights))
    texts = sorted(set(samples.instructions))
    embeddings = embed_tensor(texts)
    text_of = torch.tensor([texts.index(t) for t in samples.instructions])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=0.0, weight_decay=config.weight_decay, fused=True)
    classifier.train()
    with Training(folder, steps=config.steps, modules={"reward": classifier}, optimizer=optimizer) as training:
        for step in training:
            generator = torch_generator(seed, "reward", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps))
            # Both classes are drawn alike: the weights are the odds of being drawn.
            chosen = torch.multinomial(weights, config.batch, replacement=True, generator=generator)
            half = config.batch // 2
            frames = torch.cat([real[chosen[:half]], drawn[chosen[half:]]])
            even = torch.ones(config.batch)
            loss, metrics = classifier.loss(
                frames, embeddings[text_of[chosen]], labels[chosen], even, generator, outcomes[chosen]
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
            training.log(metrics)
    classifier.eval()


def calibrate_on(
    classifier: RewardClassifier,
    world_model: WorldModel,
    episodes: Sequence[Episode],
    config: RewardTrainingConfig,
    seed: int,
) -> Calibration:
    """Scale the classifier's probabilities and choose its threshold on episodes as the world model draws them."""
    drawn = as_imagined(world_model, episodes, config, seed)
    logits = [episode_logits(classifier, e) for e in drawn]
    calibration = calibrate(logits, [e.success for e in episodes], config.target_fpr)
    classifier.temperature.fill_(calibration.temperature)
    classifier.bias.fill_(calibration.bias)
    return calibration


def outcome_auroc(
    classifier: RewardClassifier,
    world_model: WorldModel,
    episodes: Sequence[Episode],
    config: RewardTrainingConfig,
    seed: int,
) -> float | None:
    """How well the predicted outcome tells frames of episodes that will succeed from those that will not, as they are
    imagined in the midst of episodes. None: the classifier predicts none, or all frames end alike."""
    if not classifier.config.outcome:
        return None
    promised, came = [], []
    for real, drawn in zip(episodes, as_imagined(world_model, episodes, config, seed, midst=True), strict=True):
        embedding = embed_tensor([real.task.instruction]).expand(len(real.frames), -1)
        p = classifier.p_outcome(torch.from_numpy(drawn.frames), embedding).numpy()
        promised.append(p[~real.success])
        came.append(outcomes_of(real.success)[~real.success] > 0)
    labels = np.concatenate(came)
    return None if labels.all() or not labels.any() else roc_area(np.concatenate(promised), labels)


def episode_logits(classifier: RewardClassifier, episode: Episode) -> FloatArray:
    """(T+1,) uncalibrated logits of an episode's frames."""
    embedding = embed_tensor([episode.task.instruction]).expand(len(episode.frames), -1)
    return classifier.logits(torch.from_numpy(episode.frames), embedding).numpy()


def as_imagined(
    world_model: WorldModel,
    episodes: Sequence[Episode],
    config: RewardTrainingConfig,
    seed: int,
    midst: bool = False,
) -> list[Episode]:
    """The episodes as the world model draws them: their last chunks imagined in closed loop under their own actions,
    what came before through the autoencoder. How many chunks is drawn for each episode, so that all depths occur.

    midst: imagine as many chunks anywhere in the episode.
    """
    stretches = [_stretch(episode, config, seed, midst) for episode in episodes]
    imagined = imagine_stretches(world_model, stretches, config.solver_steps)
    return [
        replace(episode, frames=_laid_over(world_model, stretch, made))
        for episode, stretch, made in zip(episodes, stretches, imagined, strict=True)
    ]


def _stretch(episode: Episode, config: RewardTrainingConfig, seed: int, midst: bool) -> Stretch:
    generator = numpy_generator(seed, "as_imagined_midst" if midst else "as_imagined", episode.id)
    chunks = min(int(generator.integers(3, config.imagined_chunks + 1)), episode.length // CHUNK)
    start = episode.length - chunks * CHUNK
    if midst:
        start = int(generator.integers(start + 1))
    noise = derive_seed(seed, "as_imagined_noise", episode.id)
    return Stretch(episode.frames, episode.actions, chunks, noise, start)


def _laid_over(world_model: WorldModel, stretch: Stretch, imagined: Frames) -> Frames:
    with autocast():
        codec = world_model.codec
        frames: Frames = codec.decode_frames(codec.encode_frames(torch.from_numpy(stretch.frames))).numpy()
    frames[stretch.start + 1 : stretch.start + 1 + len(imagined)] = imagined
    return frames
