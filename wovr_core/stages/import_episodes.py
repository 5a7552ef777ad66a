"""Episodes of another format into a run: converted one by one, kept where they are whole, ready to train on.

They lie in the run's stage `import`; its stage `collect` is then finished with them, so that the pipeline goes on
with imitation where it would have collected demonstrations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wovr_core.data.array_codecs import Codec, check_codec
from wovr_core.data.episode_files import SUFFIX, write_episode
from wovr_core.data.formats.base import EpisodeReader
from wovr_core.data.formats.conventions import Statistics, describe, episode_id, merge, to_episode
from wovr_core.errors import WovrError
from wovr_core.files import sha256_file
from wovr_core.stages.collect import CollectInputs, CollectOutputs, outputs_of
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.progress import Progress
from wovr_core.stages.real_episodes import is_whole, sweep, versions_of
from wovr_core.types import TaskId
from wovr_core.wording import counted


@dataclass(frozen=True)
class ImportConfig:
    """What is imported, and how it is understood."""

    format: str
    path: str
    conventions: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Conventions` that were asked for; the others are what the format is known to need."""
    statistics: Statistics | None = None
    """For normalised actions."""
    suite: str = ""
    """Of LIBERO; empty: what the source says."""
    source: str = "expert"
    """Who acted."""
    limit: int = 0
    """Episodes; 0: all."""
    codec: Codec = "auto"

    def __post_init__(self) -> None:
        check_codec(self.codec)
        if self.limit < 0:
            raise WovrError(f"cannot import {self.limit} episodes")


@dataclass(frozen=True)
class ImportInputs:
    reader: EpisodeReader
    tasks: Mapping[str, Sequence[TaskId]]
    """Suite -> its tasks, in LIBERO's order."""


def run(
    config: ImportConfig, inputs: ImportInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> CollectOutputs:
    """Import what is not there yet. Raises ForeignFileError for an episode that cannot be read."""
    keys = inputs.reader.keys()
    keys = keys[: config.limit] if config.limit else keys
    folder = StageFolder(out_dir, "import", config, {}, on_metrics)
    finished = folder.outputs(CollectOutputs)
    if finished:
        return finished
    episodes = folder.path / "episodes"
    sweep(episodes)
    missing = [key for key in keys if not is_whole(episodes / f"{episode_id(key)}{SUFFIX}")]
    progress = Progress(folder.title, len(keys), "episode", initial=len(keys) - len(missing))
    digests: dict[str, str] = {}
    with contextlib.closing(progress):
        for done, key in enumerate(missing, start=1):
            clip = inputs.reader.read(key)
            conventions = merge(clip.conventions, dict(config.conventions))
            lineage = {
                "imported_format": config.format,
                "imported_from": Path(config.path).name,
                "imported_file": clip.file,
                "imported_sha256": _digest(Path(config.path), clip.file, digests),
                "imported_with": describe(conventions),
                "imported_normalised": str(config.statistics is not None).lower(),
            }
            tasks = inputs.tasks.get(config.suite or clip.suite, ())
            episode = to_episode(clip, conventions, tasks, config.statistics, lineage, config.source)
            write_episode(episodes, episode, config.codec)
            folder.log(len(keys) - len(missing) + done, {"success": episode.succeeded, "length": episode.length})
            progress.update(1)
            folder.stop_if_asked(f" after {counted(done, 'episode')}")
    return folder.finish(outputs_of(episodes))


def adopt(config: Any, inputs: CollectInputs, imported: CollectOutputs, out_dir: Path) -> CollectOutputs:
    """Finish the stage `collect` of a recipe with what was imported, so that `collect.run` hands it on."""
    folder = StageFolder(out_dir, "collect", config, versions_of(inputs))
    return folder.outputs(CollectOutputs) or folder.finish(imported)


def _digest(path: Path, file: str, known: dict[str, str]) -> str:
    if file not in known:
        source = path / file if path.is_dir() else path
        source = source if source.is_file() else path / "dataset" / file
        known[file] = sha256_file(source) if source.is_file() else ""
    return known[file]
