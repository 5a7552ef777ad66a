"""Windows of an episode that the world model sees: reference + 4 recent frames, then 8 future ones; keyframes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import (
    CHUNK,
    CONTEXT_FRAMES,
    NULL_ACTION,
    RECENT_FRAMES,
    Episode,
    FloatArray,
    IntArray,
    Keyframe,
    Rollout,
    Start,
    TaskId,
)


def window_indices(step: int | IntArray) -> IntArray:
    """Frame indices of the window whose newest context frame is `step`: reference, 4 recent, 8 future.

    Returns:
        (..., F+C); recent frames before the episode's start are frame 0.
    """
    s = np.asarray(step)[..., None]
    recent = np.maximum(s + np.arange(1 - RECENT_FRAMES, 1), 0)
    return np.concatenate([np.zeros_like(s), recent, s + np.arange(1, CHUNK + 1)], axis=-1)


def producing_actions(actions: FloatArray) -> FloatArray:
    """(T, A) -> (T+1, A): the action that produced each frame; NULL_ACTION for frame 0.

    Datasets store the action taken *at* a frame; the world model wants the one that led to it: one step earlier.
    """
    return np.concatenate([NULL_ACTION[None], actions]).astype(np.float32)


def gripper_changes(actions: FloatArray) -> IntArray:
    """(T, A) -> the actions, ascending, whose gripper command is another than the one before: closing or opening."""
    closed = (actions[:, 6] > 0).astype(np.int8)
    return np.flatnonzero(np.diff(closed)) + 1


def keyframe(episode: Episode, step: int, reason: str) -> Keyframe:
    """The start of imagined rollouts at frame `step`; with the simulator's state there, where one was recorded."""
    indices = window_indices(step)[:CONTEXT_FRAMES]
    return Keyframe(
        task=episode.task,
        start=Start(episode.id, step),
        reason=reason,
        context_frames=episode.frames[indices],
        context_actions=producing_actions(episode.actions)[indices],
        sim_state=None if episode.sim_states is None else episode.sim_states[step],
    )


def keyframe_of(rollout: Rollout) -> Keyframe:
    """Where an imagined rollout began, to imagine from it again."""
    return Keyframe(
        task=rollout.task,
        start=rollout.start,
        reason=rollout.info.get("keyframe", ""),
        context_frames=rollout.context_frames,
        context_actions=rollout.context_actions,
        sim_state=rollout.sim_state,
    )


def split_ids(ids: Sequence[str], held_out: int) -> tuple[list[str], list[str]]:
    """Train and held-out ids: every n-th one of the sorted ids is held out, so that sources mix.

    Raises:
        WovrError: none would be held out, or none be left.
    """
    ordered = sorted(ids)
    if held_out <= 0 or held_out >= len(ordered):
        raise WovrError(
            f"held_out is {held_out} of {len(ordered)} episodes: some are to be held out, not all; "
            "set held_out lower or collect more"
        )
    chosen = {ordered[int((k + 0.5) * len(ordered) / held_out)] for k in range(held_out)}
    return [i for i in ordered if i not in chosen], sorted(chosen)


def by_task(episodes: Sequence[Episode]) -> dict[TaskId, list[Episode]]:
    groups: dict[TaskId, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.task, []).append(episode)
    return groups
