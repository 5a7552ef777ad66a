"""Corrections as samples of the reward model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wovr_core.data.corrections import CorrectionSet
from wovr_core.reward.labels import LabelledFrames, outcomes_of
from wovr_core.types import FloatArray, Frames, Rollout


def label_corrections(corrections: CorrectionSet) -> tuple[LabelledFrames, LabelledFrames] | None:
    """Exactly the frames that the corrections name: first as they really were, then as they were imagined.

    Row i of both is the same instant under the same label; where no replay is known the imagined frame stands for
    the real one. None when no frame is labelled. A frame under several labels is a sample of each.
    """
    found = []
    for correction in corrections.corrections:
        rollout = corrections.rollout(correction.rollout) if correction.labels else None
        if rollout is None:
            continue
        replay = corrections.replay(correction.rollout)
        real = rollout.frames if replay is None else replay.frames
        for label in correction.labels:
            chosen = np.arange(label.first, min(label.last, len(rollout.frames) - 1, len(real) - 1) + 1)
            later = np.full(len(chosen), np.nan, np.float32) if replay is None else outcomes_of(replay.success)[chosen]
            found.append((rollout, real[chosen], rollout.frames[chosen], label.success, label.weight, later))
    if not found:
        return None
    real_frames, imagined = np.concatenate([f[1] for f in found]), np.concatenate([f[2] for f in found])
    return _samples(found, real_frames), _samples(found, imagined)


def _samples(
    found: Sequence[tuple[Rollout, Frames, Frames, bool, float, FloatArray]], frames: Frames
) -> LabelledFrames:
    return LabelledFrames(
        frames=frames,
        instructions=tuple(rollout.task.instruction for rollout, f, *_ in found for _ in f),
        labels=np.concatenate([np.full(len(f), success) for _, f, _, success, *_ in found]),
        weights=np.concatenate([np.full(len(f), weight, np.float32) for _, f, _, _, weight, _ in found]),
        episodes=tuple(rollout.id for rollout, f, *_ in found for _ in f),
        outcomes=np.concatenate([outcome for *_, outcome in found]),
    )
