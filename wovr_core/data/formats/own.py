"""Episodes of ours as a source like any other: what the convention doctor and the fuzzer read them through."""

from __future__ import annotations

from pathlib import Path

from wovr_core.data.episode_files import SUFFIX, read_episode
from wovr_core.data.formats.base import Clip, check_clip, require
from wovr_core.types import FPS


class OwnReader:
    """An episode file, or a folder with some at any depth."""

    def __init__(self, path: Path) -> None:
        found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if path.is_dir() and (path / "run.json").is_file():
            # Of a run, the episodes alone: rollouts are imagined, and replays repeat them.
            found = [file for file in found if file.parent.name == "episodes" and file.parent.parent.name != "audit"]
        root = path if path.is_dir() else path.parent
        self._files = {str(file.relative_to(root)): file for file in found}
        require(bool(self._files), path, f"holds no {SUFFIX} file")

    def keys(self) -> list[str]:
        return list(self._files)

    def read(self, key: str) -> Clip:
        episode = read_episode(self._files[key])
        first = episode.first_success
        return check_clip(
            Clip(
                key=key,
                frames=episode.frames,
                actions=episode.actions,
                instruction=episode.task.instruction,
                suite=episode.task.suite,
                task=episode.task.task,
                success=-1 if first is None else first,
                fps=float(FPS),
                file=key,
            )
        )
