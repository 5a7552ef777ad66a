"""What RLinf's reward network is taught: the truth about real frames, or the verdicts of a run's own classifier.

The classifier judges real frames and the same instants as the world model draws them, since imagination is what either
network judges in the end. Where it says "success" is kept: its threshold becomes RLinf's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import load_reward, load_world_model
from wovr_core.reward.labels import LabelConfig, balanced_weights, label_episode, label_episodes
from wovr_core.stages.train_reward import RewardTrainingConfig, as_imagined
from wovr_core.types import Episode, FloatArray, Frames

CERTAIN = 1e-6
"""Probabilities are kept so far from 0 and 1."""


@dataclass(frozen=True)
class Lessons:
    """Frames and what the network is to say of them."""

    frames: Frames
    """(N, H, W, 3)"""
    instructions: tuple[str, ...]
    """N"""
    targets: FloatArray
    """(N,), probabilities of success."""
    odds: FloatArray
    """(N,), of being drawn: successes and others alike."""


def true_lessons(episodes: Sequence[Episode], labels: LabelConfig) -> Lessons:
    """Whether the task really was done. Raises WovrError without both kinds of frames."""
    found = label_episodes(episodes, labels)
    odds = balanced_weights(found.labels, found.weights)
    return Lessons(found.frames, found.instructions, found.labels.astype(np.float32), odds)


def moved(p: FloatArray, threshold: float, wanted: float) -> FloatArray:
    """Probabilities (N,) whose `threshold` is moved to `wanted`, all by the same distance in logits."""

    def logit(x: FloatArray | float) -> FloatArray:
        kept = np.clip(np.asarray(x, dtype=np.float64), CERTAIN, 1 - CERTAIN)
        return np.asarray(np.log(kept / (1 - kept)))

    return np.asarray(1 / (1 + np.exp(-(logit(p) - logit(threshold) + logit(wanted)))), dtype=np.float32)


class Teacher:
    """A run's own classifier, and the world model whose pictures it is used on."""

    def __init__(self, reward: Path, world_model: Path, training: RewardTrainingConfig, seed: int) -> None:
        """training: how deep the imagination was that the classifier learned from."""
        self._classifier, calibration, _ = load_reward(reward)
        self._threshold = calibration.threshold
        self._model, _ = load_world_model(world_model)
        self._training, self._seed = training, seed

    def probabilities(self, episode: Episode) -> FloatArray:
        """(T+1,), calibrated."""
        embedding = embed_tensor([episode.task.instruction]).expand(len(episode.frames), -1)
        return self._classifier.p_success(torch.from_numpy(np.ascontiguousarray(episode.frames)), embedding).numpy()

    def both(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes as they were and as the world model draws them; their `success` is the classifier's verdict."""
        shown = [*episodes, *as_imagined(self._model, episodes, self._training, self._seed)]
        return [replace(e, success=self.probabilities(e) >= self._threshold) for e in shown]

    def lessons(self, judged: Sequence[Episode], labels: LabelConfig, wanted: float) -> Lessons:
        """Of what `both` gave.

        Args:
            wanted: the probability that stands for the classifier's threshold.

        Raises:
            WovrError: the classifier calls every frame a success, or none.
        """
        chosen = [(e, *label_episode(e.success, labels)) for e in judged]
        verdicts = np.concatenate([e.success[i] for e, i, _ in chosen])
        try:
            odds = balanced_weights(verdicts, np.concatenate([weights for *_, weights in chosen]))
        except WovrError as error:
            raise WovrError(f"the run's own classifier cannot teach on these episodes: {error}") from error
        return Lessons(
            frames=np.concatenate([e.frames[i] for e, i, _ in chosen]),
            instructions=tuple(e.task.instruction for e, i, _ in chosen for _ in i),
            targets=np.concatenate([moved(self.probabilities(e)[i], self._threshold, wanted) for e, i, _ in chosen]),
            odds=odds,
        )
