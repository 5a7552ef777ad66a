"""Train RLinf's reward model on our episodes, or on what our own classifier says of them, and leave it as the file that
RLinf reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.formats.conventions import resize
from wovr_core.data.segments import split_ids
from wovr_core.files import replace_file
from wovr_core.model_files import version_of
from wovr_core.reward.labels import LabelConfig
from wovr_core.reward.rlinf import ResnetReward, RlinfReward, TaskEmbedReward
from wovr_core.seeding import derive_seed, global_draws, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.rlinf_lessons import Lessons, Teacher, true_lessons
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.stages.training import Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode

THRESHOLD = 0.9
"""From which probability on RLinf's environment counts a frame as a success."""


@dataclass(frozen=True)
class RlinfRewardConfig:
    labels: LabelConfig = field(default_factory=LabelConfig)
    told_the_task: bool = False
    """The variant with a task embedding, for suites whose goals cannot be told from the picture alone."""
    image_size: int = 0
    """H = W that the model is shown; RLinf's draws 256. 0: as the episodes are."""
    steps: int = 5000
    batch: int = 32
    learning_rate: float = 3e-4
    held_out: int = 20
    """Episodes that are not trained on."""


@dataclass(frozen=True)
class OwnClassifier:
    """Checkpoints of the run's own classifier and of the world model that it judges."""

    reward: Path
    world_model: Path
    training: RewardTrainingConfig
    """Of the classifier: how deep it has seen imagination."""


@dataclass(frozen=True)
class RlinfRewardInputs:
    episodes: tuple[str, ...]
    versions: tuple[str, ...]
    seed: int
    instructions: tuple[str, ...] = ()
    """Of the whole suite, for the variant that is told the task; those of the episodes if not given."""
    teacher: OwnClassifier | None = None
    """What to learn from in place of the truth."""


@dataclass(frozen=True)
class RlinfRewardOutputs:
    reward: str
    """`resnet_rm.pth` or `taskemb_resnet_rm.pth`."""
    true_positives: float
    """Share of successful held-out frames at or over THRESHOLD."""
    false_positives: float
    """Share of the others."""
    teacher: str = ""
    """Version of the own classifier that it learned from, if it did, and of its world model."""
    teacher_positives: float | None = None
    """Share of the held-out frames, real and imagined, that reach THRESHOLD where the teacher says success."""
    teacher_negatives: float | None = None
    """Share of those that reach it where the teacher says none."""


def run(
    config: RlinfRewardConfig, inputs: RlinfRewardInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> RlinfRewardOutputs:
    """Train with binary cross-entropy on frames of both kinds alike; measure on held-out episodes.

    Raises:
        WovrError: there are not more episodes than are held out; a teacher that sees no success, or nothing else.
    """
    if not (out_dir / "outputs.json").exists():  # what cannot be begun leaves no folder of another configuration
        split_ids([f"{i}/{name}" for i, path in enumerate(inputs.episodes) for name in EpisodeSet(Path(path)).paths],
                  config.held_out)  # fmt: skip
    versions = {"episodes": ",".join(inputs.versions), "seed": str(inputs.seed)}
    own = inputs.teacher
    if own:
        versions["teacher"] = f"{version_of(own.reward)},{version_of(own.world_model)}"
    folder = StageFolder(out_dir, "train_rlinf_reward", config, versions, on_metrics)
    finished = folder.outputs(RlinfRewardOutputs)
    if finished:
        return finished
    teacher = Teacher(own.reward, own.world_model, own.training, inputs.seed) if own else None
    episodes = load_named(inputs.episodes)
    train_ids, held_ids = split_ids(list(episodes), config.held_out)
    tasks = inputs.instructions or tuple(sorted({e.task.instruction for e in episodes.values()}))
    with global_draws(derive_seed(inputs.seed, "rlinf_reward_weights")):
        model: RlinfReward = TaskEmbedReward(tasks) if config.told_the_task else ResnetReward()
    training, held = ([episodes[i] for i in ids] for ids in (train_ids, held_ids))
    if teacher:
        lessons = teacher.lessons(teacher.both(training), config.labels, THRESHOLD)
    else:
        lessons = true_lessons(training, config.labels)
    fit(folder, model, lessons, config, inputs.seed)
    rates = measure(model, held, config.image_size)
    agreed = measure(model, teacher.both(held), config.image_size) if teacher else (None, None)
    path = folder.path / model.file
    replace_file(path, lambda temporary: torch.save(model.state_dict(), temporary))
    found = {"true_positives": rates[0], "false_positives": rates[1]}
    if agreed[0] is not None and agreed[1] is not None:
        found |= {"teacher_positives": agreed[0], "teacher_negatives": agreed[1]}
    folder.log(config.steps, found, "held_out")
    return folder.finish(RlinfRewardOutputs(str(path), *rates, versions.get("teacher", ""), *agreed))


def fit(folder: StageFolder, model: RlinfReward, lessons: Lessons, config: RlinfRewardConfig, seed: int) -> None:
    """Leaves the model in evaluation mode."""
    targets, odds = torch.from_numpy(lessons.targets), torch.from_numpy(lessons.odds)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=1e-4, fused=True)
    model.train()
    with Training(folder, steps=config.steps, modules={"reward": model}, optimizer=optimizer) as training:
        for step in training:
            generator = torch_generator(seed, "rlinf_reward", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps, config.steps // 20))
            chosen = torch.multinomial(odds, config.batch, replacement=True, generator=generator)
            with global_draws(derive_seed(seed, "rlinf_reward_dropout", step)):
                shown = torch.from_numpy(resize(lessons.frames[chosen.numpy()], config.image_size))
                p = model(shown, [lessons.instructions[i] for i in chosen.tolist()])
            loss = F.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            training.log({"reward/loss": float(loss.detach())})
    model.eval()


@torch.no_grad()
def measure(model: RlinfReward, episodes: Sequence[Episode], image_size: int = 0) -> tuple[float, float]:
    """Shares of successful and of other frames that reach THRESHOLD, seen at `image_size`; 0 where there are none."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for episode in episodes:
        for part in np.array_split(np.arange(len(episode.frames)), max(1, len(episode.frames) // 64)):
            shown = torch.from_numpy(resize(episode.frames[part], image_size))
            p = model(shown, [episode.task.instruction] * len(part))
            for success, value in zip(episode.success[part], p.tolist(), strict=True):
                hits[bool(success)].append(value >= THRESHOLD)
    true, false = (float(np.mean(hits[kind])) if hits[kind] else 0.0 for kind in (True, False))
    return true, false
