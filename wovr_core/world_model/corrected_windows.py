"""Corrections as training sequences of the world model: the real course of exactly the imagined actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wovr_core.data.corrections import CorrectionSet, WindowWeight
from wovr_core.types import CHUNK, CONTEXT_FRAMES, Episode, FloatArray, Frames, Rollout


@dataclass(frozen=True)
class WeightedSequence:
    """Real frames and actions, and how much the window at each step counts."""

    frames: Frames
    """(T+1, H, W, 3)"""
    actions: FloatArray
    """(T, A)"""
    weights: FloatArray
    """(T+1,), of the window whose newest context frame this is."""


def weighted_sequences(corrections: CorrectionSet) -> list[WeightedSequence]:
    """One for each correction that has a window and a replay."""
    found = []
    for correction in corrections.corrections:
        replay = corrections.replay(correction.rollout) if correction.window else None
        if replay is not None and correction.window is not None:
            found.append(_sequence(corrections.rollout(correction.rollout), replay, correction.window))
    return found


def _sequence(rollout: Rollout, replay: Episode, window: WindowWeight) -> WeightedSequence:
    """The replay behind the context that the rollout was imagined from: reference and recent frames are those that
    imagination saw. From the reference to the next frame there is a gap in time, so no window may begin before the
    context is complete.
    """
    lead = CONTEXT_FRAMES - 1
    frames = np.concatenate([rollout.context_frames[:lead], replay.frames])
    actions = np.concatenate([rollout.context_actions[1:], replay.actions]).astype(np.float32)
    weights = np.zeros(len(frames), np.float32)
    steps = np.arange(len(replay.frames))  # the window at step s predicts frames s+1 .. s+C
    near = (steps + CHUNK >= window.first) & (steps + 1 <= window.last)
    weights[lead:] = np.where(near, window.weight, window.elsewhere)
    return WeightedSequence(frames, actions, weights)
