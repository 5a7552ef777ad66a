"""Real episodes in practice: those that the world model has learned from say once more what their actions led to.

Imagination multiplies what few real episodes show, and errs; they are few, and do not. Each update may therefore join
to its imagined groups one group of real episodes for each task and folder, as Dyna (Sutton, 1991) mixes both kinds of
experience. They cost no further episode. Their tokens' log-probabilities are those of the policy that acted, so that
the clipped ratio of masked GRPO corrects for what has changed since, and stops where too much has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.errors import WovrError
from wovr_core.rl.group_batch import GroupBatch, of_episodes
from wovr_core.seeding import numpy_generator
from wovr_core.types import Episode


@dataclass(frozen=True)
class RealFolders:
    """Folders of real episodes, and the versions of what lies in them."""

    folders: tuple[str, ...]
    versions: tuple[str, ...]


class RealEpisodes:
    """Groups of recorded episodes for the RL loop.

    Args:
        folders: of real episodes; those that record no sampled tokens (demonstrations) are passed over.
        count: members of a group, at most.
        seed: of which episodes an update draws.

    Raises:
        WovrError: no episode records what a policy drew.
    """

    def __init__(self, folders: Sequence[str], count: int, discount: float, post_success_mask: bool, seed: int) -> None:
        self._count, self._discount, self._mask, self._seed = count, discount, post_success_mask, seed
        self._groups: dict[tuple[int, int], list[Episode]] = {}
        for number, folder in enumerate(folders):
            for episode in EpisodeSet(Path(folder)):
                if episode.action_tokens is not None and episode.log_probs is not None:
                    self._groups.setdefault((number, episode.task.task), []).append(episode)
        if not self._groups:
            raise WovrError(
                "rl.real_weight needs real episodes that record the policy's tokens; there is none in "
                f"{', '.join(folders) or 'no folder at all'}"
            )

    def batches(self, update: int) -> list[GroupBatch]:
        """One group for each task and folder: siblings share the task, not the start."""
        return [self._draw(update, key, episodes) for key, episodes in sorted(self._groups.items())]

    def _draw(self, update: int, key: tuple[int, int], episodes: Sequence[Episode]) -> GroupBatch:
        generator = numpy_generator(self._seed, "rl_real", update, *key)
        chosen = generator.permutation(len(episodes))[: self._count]
        return of_episodes([episodes[int(i)] for i in chosen], self._discount, self._mask)
