"""The imagined-success audit: an imagined rollout beside what its very actions lead to in the simulator.

Headline: the false-success rate, imagined successes that fail for real; its denominator is the imagined
successes, and n is always beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wovr_core.types import CHUNK, AuditedRollout, Episode, FloatArray, Rollout


@dataclass(frozen=True)
class Rate:
    """k of n."""

    count: int
    total: int


@dataclass(frozen=True)
class AuditSummary:
    """Counts over a set of audited rollouts."""

    false_success: Rate
    """Of the imagined successes."""
    false_failure: Rate
    """Of the imagined failures."""
    by_depth: dict[str, Rate]
    """False successes among imagined successes, by the depth (in actions) at which they were imagined."""
    by_task: dict[str, Rate]
    divergence: FloatArray
    """(N,) mean divergence at each imagined frame."""


def imagined_success_step(rollout: Rollout) -> int | None:
    """Action after which success was first imagined (1 is the first), or None.

    The loss mask is valid up to and including that step only to the chunk; p_success says it to the frame.
    """
    return first_success_step(rollout.p_success, float(rollout.info["success_threshold"]))


def first_success_step(p_success: FloatArray, threshold: float) -> int | None:
    """The same of (K*C+1,) probabilities alone, for lists that do not read whole rollouts."""
    above = np.flatnonzero(p_success[1:] >= threshold)
    return int(above[0]) + 1 if len(above) else None


def frame_divergence(imagined: np.ndarray, real: np.ndarray) -> FloatArray:
    """(N,) mean absolute difference in [0, 255] of two stacks of frames (N, H, W, 3)."""
    difference = np.abs(imagined.astype(np.int16) - real.astype(np.int16))
    return difference.mean(axis=(1, 2, 3)).astype(np.float32)


def audit_rollout(rollout: Rollout, real: Episode, tolerance: int = CHUNK) -> AuditedRollout:
    """Compare one rollout with the replay of its actions.

    A real success counts up to `tolerance` actions after the imagined one: the classifier and the
    simulator's predicate need not agree to the frame.
    """
    if not np.array_equal(rollout.actions, real.actions):
        raise ValueError(f"the replay {real.id} did not execute the actions of rollout {rollout.id}")
    step = imagined_success_step(rollout)
    depth = len(rollout.actions) if step is None else step
    window = real.success[1 : depth + tolerance + 1]
    return AuditedRollout(
        rollout_id=rollout.id,
        task=rollout.task,
        depth=depth,
        imagined_success=step is not None,
        real_success=bool(window.any()),
        divergence=frame_divergence(rollout.frames, real.frames),
        real_episode_id=real.id,
    )


def summarise(
    audited: Sequence[AuditedRollout], depth_edges: Sequence[int] = (0, 16, 32, 64, 128, 256)
) -> AuditSummary:
    """Rates over all, by depth and by task.

    Args:
        depth_edges: in actions, ascending; rollouts that go deeper are counted in ranges that double the last.
    """
    imagined = [a for a in audited if a.imagined_success]
    failed = [a for a in audited if not a.imagined_success]
    by_depth, edges = {}, list(depth_edges)
    while edges[-1] < max((a.depth for a in imagined), default=0):
        edges.append(2 * edges[-1])
    for low, high in itertools.pairwise(edges):
        inside = [a for a in imagined if low < a.depth <= high]
        if inside:
            by_depth[f"{low + 1}-{high}"] = _false_successes(inside)
    tasks = sorted({str(a.task) for a in imagined})
    longest = max((len(a.divergence) for a in audited), default=0)
    padded = np.full((len(audited), longest), np.nan, dtype=np.float32)
    for row, a in zip(padded, audited, strict=True):
        row[: len(a.divergence)] = a.divergence
    return AuditSummary(
        false_success=_false_successes(imagined),
        false_failure=Rate(sum(a.real_success for a in failed), len(failed)),
        by_depth=by_depth,
        by_task={task: _false_successes([a for a in imagined if str(a.task) == task]) for task in tasks},
        divergence=np.nanmean(padded, axis=0) if longest else np.zeros(0, dtype=np.float32),
    )


def _false_successes(imagined: Sequence[AuditedRollout]) -> Rate:
    return Rate(sum(not a.real_success for a in imagined), len(imagined))
