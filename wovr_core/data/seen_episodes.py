"""Which real episodes practice has seen so far, round by round."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SeenEpisodes:
    """Folders of real episodes and their versions, in the order in which they came.

    What is held out of a training is named by its folder's place (`stages.collect.load_named`), so that folders only
    ever join at the end.
    """

    folders: tuple[str, ...]
    versions: tuple[str, ...]
    first: int
    """How many of the folders were there before practice."""

    @classmethod
    def before_practice(cls, folders: tuple[str, ...], versions: tuple[str, ...]) -> SeenEpisodes:
        """With the base policy's folder first."""
        return cls(folders, versions, len(folders))

    def joined_by(self, folder: str, version: str) -> SeenEpisodes:
        """With a round's new episodes."""
        return replace(self, folders=(*self.folders, folder), versions=(*self.versions, version))

    @property
    def newest_first(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(folders, versions), the current policy's before all: keyframes are about what it meets."""
        return self._turned(self.folders), self._turned(self.versions)

    def _turned(self, values: tuple[str, ...]) -> tuple[str, ...]:
        return (*reversed(values[self.first :]), *values[: self.first])
