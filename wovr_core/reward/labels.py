"""Which frames teach the reward model what: successes, their near misses, and what the audit found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import BoolArray, Episode, FloatArray, Frames, IntArray


@dataclass(frozen=True)
class LabelConfig:
    """How episodes become labelled frames."""

    stride: int = 2
    """Every so many of the easy negatives; positives and hard negatives are all kept."""
    near_miss: int = 30
    """Frames before the first success that are hard negatives: the object held above its goal."""
    tail: int = 30
    """Last frames of a failed episode that are hard negatives: it looks finished and is not."""
    hard_weight: float = 2.0
    """Weight of a hard negative in the loss, where every other frame has 1."""


@dataclass(frozen=True)
class LabelledFrames:
    """Samples of the reward model."""

    frames: Frames
    """(N, H, W, 3)"""
    instructions: tuple[str, ...]
    """N"""
    labels: BoolArray
    """(N,)"""
    weights: FloatArray
    """(N,), before balancing."""
    episodes: tuple[str, ...]
    """N ids, by which training and held-out sets are kept apart."""
    outcomes: FloatArray
    """(N,) 1 where the episode succeeds at this frame or later, 0 where it never does again, NaN where nobody knows."""

    def __len__(self) -> int:
        return len(self.labels)


def label_episode(success: BoolArray, config: LabelConfig) -> tuple[IntArray, FloatArray]:
    """Frames of one episode to keep, and their weights.

    Args:
        success: (T+1,), the simulator's predicate at each frame; it is the label itself.

    Returns:
        indices (n,) ascending, weights (n,)
    """
    steps = np.arange(len(success))
    if success.any():
        first = int(success.argmax())
        hard = ~success & (steps >= first - config.near_miss)
    else:
        hard = steps >= len(success) - config.tail
    keep = success | hard | (steps % config.stride == 0)
    weights = np.where(hard, config.hard_weight, 1.0).astype(np.float32)
    return np.flatnonzero(keep).astype(np.int64), weights[keep]


def label_episodes(episodes: Sequence[Episode], config: LabelConfig | None = None) -> LabelledFrames:
    """All samples of executed episodes.

    Raises:
        WovrError: no episode at all.
    """
    if not episodes:
        raise WovrError("no episodes to label for the reward model; collect some first")
    config = config or LabelConfig()
    parts = [(e, *label_episode(e.success, config)) for e in episodes]
    return LabelledFrames(
        frames=np.concatenate([e.frames[i] for e, i, _ in parts]),
        instructions=tuple(e.task.instruction for e, i, _ in parts for _ in i),
        labels=np.concatenate([e.success[i] for e, i, _ in parts]).astype(bool),
        weights=np.concatenate([w for *_, w in parts]),
        episodes=tuple(e.id for e, i, _ in parts for _ in i),
        outcomes=np.concatenate([outcomes_of(e.success)[i] for e, i, _ in parts]),
    )


def outcomes_of(success: BoolArray) -> FloatArray:
    """(T+1,) -> (T+1,): 1 at each frame at or after which the predicate holds, else 0."""
    return np.logical_or.accumulate(success[::-1])[::-1].astype(np.float32)


def merge(parts: Sequence[LabelledFrames]) -> LabelledFrames:
    """Several sets as one, such as episodes' frames and the audit's hard negatives (false imagined successes)."""
    if not parts:
        raise WovrError("no labelled frames to merge")
    return LabelledFrames(
        frames=np.concatenate([p.frames for p in parts]),
        instructions=tuple(t for p in parts for t in p.instructions),
        labels=np.concatenate([p.labels for p in parts]),
        weights=np.concatenate([p.weights for p in parts]),
        episodes=tuple(e for p in parts for e in p.episodes),
        outcomes=np.concatenate([p.outcomes for p in parts]),
    )


def balanced_weights(labels: BoolArray, weights: FloatArray) -> FloatArray:
    """Weights scaled so that positives and negatives carry the same total, and the mean is 1.

    Raises:
        WovrError: only one of both classes is there.
    """
    positive, negative = float(weights[labels].sum()), float(weights[~labels].sum())
    if positive <= 0 or negative <= 0:
        what = "successful" if positive <= 0 else "unsuccessful"
        raise WovrError(f"the reward model needs both kinds of frames; there is no {what} one")
    scaled = np.where(labels, weights / positive, weights / negative)
    return (scaled * (len(labels) / 2)).astype(np.float32)
