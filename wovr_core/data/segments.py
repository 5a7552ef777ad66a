"""Windows of an episode that the world model sees: reference + 4 recent frames, then 8 future ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wovr_core.types import (
    CHUNK,
    NULL_ACTION,
    RECENT_FRAMES,
    Episode,
    FloatArray,
    IntArray,
    Keyframe,
    Segment,
    Start,
    TaskId,
)


def context_indices(step: int) -> IntArray:
    """(F,) frame indices of the context at frame `step`: 0, then the 4 newest, the first frame repeated."""
    recent = np.arange(step - RECENT_FRAMES + 1, step + 1)
    return np.concatenate([[0], np.maximum(recent, 0)])


def producing_actions(actions: FloatArray, frame_indices: IntArray) -> FloatArray:
    """(N, A): the action that produced each frame; NULL_ACTION for frame 0.

    Datasets store the action taken *at* a frame; the world model wants the one that led to it: one step earlier.
    """
    padded = np.concatenate([NULL_ACTION[None], actions])
    return padded[frame_indices]


def segment_indices(step: int) -> IntArray:
    """(F+C,) frame indices of the segment whose context ends at `step`."""
    return np.concatenate([context_indices(step), np.arange(step + 1, step + 1 + CHUNK)])


def segment_starts(length: int) -> range:
    """Frames at which a whole segment fits into an episode of `length` actions."""
    return range(length - CHUNK + 1)


def segment(episode: Episode, step: int) -> Segment:
    """The window around `step`. Raises ValueError when it runs past the episode's end."""
    if step not in segment_starts(episode.length):
        raise ValueError(f"no segment starts at {step} in an episode of {episode.length} actions")
    indices = segment_indices(step)
    return Segment(
        frames=episode.frames[indices],
        actions=producing_actions(episode.actions, indices),
        start=Start(episode.id, step),
    )


def keyframe(episode: Episode, step: int, reason: str) -> Keyframe:
    """The start of imagined rollouts at frame `step` of an episode that recorded simulator states."""
    if episode.sim_states is None:
        raise ValueError(f"episode {episode.id} holds no simulator states: it cannot be replayed")
    indices = context_indices(step)
    return Keyframe(
        task=episode.task,
        start=Start(episode.id, step),
        reason=reason,
        context_frames=episode.frames[indices],
        context_actions=producing_actions(episode.actions, indices),
        sim_state=episode.sim_states[step],
    )


def split_ids(ids: Sequence[str], held_out: int) -> tuple[list[str], list[str]]:
    """Train and held-out ids: every n-th one of the sorted ids is held out, so that sources mix."""
    ordered = sorted(ids)
    if held_out <= 0 or held_out >= len(ordered):
        raise ValueError(f"cannot hold out {held_out} of {len(ordered)} episodes")
    chosen = {ordered[int((k + 0.5) * len(ordered) / held_out)] for k in range(held_out)}
    return [i for i in ordered if i not in chosen], sorted(chosen)


def by_task(episodes: Sequence[Episode]) -> dict[TaskId, list[Episode]]:
    groups: dict[TaskId, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.task, []).append(episode)
    return groups
