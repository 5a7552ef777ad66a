"""Audited rollouts, divided into those that corrections may be made of and those that judge what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wovr_core.data.corrections import reference_of
from wovr_core.data.episode_files import EpisodeSet, read_rollout
from wovr_core.data.segments import split_ids


@dataclass(frozen=True)
class Split:
    """All that began in one real episode is on one side: its keyframes lie a few frames apart, so that a rollout from
    one tells nearly all about a rollout from the next."""

    training: tuple[str, ...]
    """Ids of rollouts."""
    held_out: tuple[str, ...]
    training_episodes: tuple[str, ...]
    """`reference_of` the episodes that the training rollouts began in, sorted."""


def split_by_episode(rollouts: Path, share: int) -> Split:
    """Hold out one episode of `share`, spread over tasks. Raises WovrError where all rollouts are of one episode."""
    began: dict[str, str] = {}
    tasks: dict[str, str] = {}
    for name, path in EpisodeSet(rollouts).paths.items():
        rollout = read_rollout(path)
        began[name] = reference_of(rollout.context_frames[0])
        tasks[began[name]] = str(rollout.task)
    episodes = [f"{task} {reference}" for reference, task in tasks.items()]  # by task, so that all have some held out
    training, _ = split_ids(episodes, max(1, len(episodes) // share))
    references = {episode.rsplit(" ", 1)[1] for episode in training}
    return Split(
        tuple(n for n, reference in began.items() if reference in references),
        tuple(n for n, reference in began.items() if reference not in references),
        tuple(sorted(references)),
    )
