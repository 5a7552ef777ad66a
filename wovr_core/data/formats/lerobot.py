"""LeRobotDataset v3.0 (read): parquet rows and either mp4 videos or pictures inside the rows.

Row t holds picture t and the action taken at it. What we wrote ourselves ends each episode with a row whose
action does nothing ("closing row"), so that the last picture is kept. To be used inside the sandbox.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.data.formats.base import (
    MAX_EPISODES,
    Clip,
    Conventions,
    ForeignFileError,
    check_clip,
    require,
)
from wovr_core.data.formats.parquet_tables import column, column_names, matrix, pictures, read_table
from wovr_core.data.formats.video import read_frames
from wovr_core.types import ACTION_DIM, Frames

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EXTRA = "wovr"
"""Key of info.json, and prefix of columns in meta/episodes, under which our own exports say more."""
_FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
_WRIST = re.compile(r"wrist|hand|image2$")
_MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class _Row:
    """One episode in meta/episodes."""

    index: int
    length: int
    values: dict[str, Any]


class LeRobotReader:
    """A dataset's root folder.

    Args:
        camera: feature of the pictures; empty: the first that is no wrist camera.
    """

    def __init__(self, path: Path, camera: str = "") -> None:
        self.root = path.resolve()
        info = _json(self.root / "meta" / "info.json")
        require(isinstance(info, dict), "meta/info.json", "is no object")
        version = str(info.get("codebase_version", ""))
        require(version.startswith("v3."), "meta/info.json",
                f"says version {version[:20]!r}; v3.0 is read (lerobot converts older ones)")  # fmt: skip
        self.info: dict[str, Any] = info
        extra = info.get(EXTRA)
        self.extra: dict[str, Any] = extra if isinstance(extra, dict) else {}
        features = info.get("features")
        require(isinstance(features, dict), "meta/info.json", "names no features")
        self.features: dict[str, Any] = {str(k): v for k, v in features.items() if isinstance(v, dict)}
        cameras = [name for name, f in self.features.items() if f.get("dtype") in ("video", "image")]
        require(bool(cameras), "meta/info.json", "names no pictures")
        main = [name for name in cameras if not _WRIST.search(name)] or cameras
        self.camera = camera or main[0]
        require(self.camera in cameras, "meta/info.json", f"names no pictures {camera!r}, but {', '.join(cameras)}")
        self.wrist = next((name for name in cameras if _WRIST.search(name) and name != self.camera), "")
        require("action" in self.features, "meta/info.json", "names no actions")
        self.fps = _number(info.get("fps"), "meta/info.json: fps")
        require(1 <= self.fps <= 1000, "meta/info.json", f"says {self.fps:g} frames a second")
        self._tasks = self._read_tasks()
        self._rows = {f"episode-{row.index:06d}": row for row in self._read_episodes()}
        require(bool(self._rows), self.root, "holds no episodes")

    def keys(self) -> list[str]:
        return list(self._rows)

    def read(self, key: str) -> Clip:
        row = self._rows[key]
        file = self._path(self.info.get("data_path", DATA_PATH), row, "data")
        table = self._table(file, row, key)
        actions = matrix(table, "action", key)
        require(actions.shape[1] == ACTION_DIM, key, f"has actions of {actions.shape[1]} numbers, not 7")
        frames = self._pictures(self.camera, row, table, key)
        streams = {"wrist": self._pictures(self.wrist, row, table, key)} if self.wrist else {}
        closing = self.extra.get("closing_row") is True
        picture = self.extra.get("picture_convention")
        number = int(column(table, "task_index", key)[0]) if "task_index" in table.column_names else -1
        said = {name: _short(row.values.get(f"{EXTRA}/{name}")) for name in ("id", "suite", "source", "seed")}
        clip = Clip(
            key=key,
            frames=frames,
            actions=actions[:-1] if closing and len(actions) == len(frames) else actions,
            instruction=self._instruction(row, number),
            suite=said["suite"],
            task=number,
            success=self._success(table, row, key),
            fps=self.fps,
            conventions=Conventions(rotate=picture == "raw"),
            streams=streams,
            file=str(file.relative_to(self.root)),
            info={f"original_{name}": value for name, value in said.items() if value and name != "suite"},
        )
        return check_clip(clip)

    def _read_tasks(self) -> dict[int, str]:
        path = self.root / "meta" / "tasks.parquet"
        if not path.is_file():
            return {}
        table = read_table(path, None)
        require("task_index" in table.column_names and table.num_rows <= _MAX_ROWS, path.name, "has no task_index")
        names = [n for n in ("task", "__index_level_0__") if n in table.column_names]
        require(bool(names), path.name, "names no tasks")
        numbers, texts = table["task_index"].to_pylist(), table[names[0]].to_pylist()
        return {int(n): str(t)[:1000] for n, t in zip(numbers, texts, strict=True) if isinstance(n, int)}

    def _read_episodes(self) -> list[_Row]:
        files = sorted((self.root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
        require(bool(files), "meta/episodes", "holds no chunk-000/file-000.parquet")
        rows = []
        for file in files:
            table = read_table(file, lambda name: not name.startswith("stats/"))
            require(table.num_rows <= MAX_EPISODES, file.name, "has too many episodes")
            for values in table.to_pylist():
                index, length = values.get("episode_index"), values.get("length")
                good = isinstance(index, int) and isinstance(length, int) and index >= 0 and 1 <= length <= _MAX_ROWS
                require(good, f"{file.parent.name}/{file.name}", f"has the episode {index!r} of length {length!r}")
                rows.append(_Row(index, length, values))
        return sorted(rows, key=lambda row: row.index)

    def _table(self, file: Path, row: _Row, key: str) -> Any:
        import pyarrow.dataset as pads

        known = set(column_names(file))
        pictures = {self.camera, self.wrist}
        wanted = [n for n in known if n in pictures or n == "action" or n.startswith("next.")]
        wanted += [n for n in ("task_index", "frame_index") if n in known]
        require({"action", "episode_index"} <= known, key, "has no action or episode_index in its rows")
        try:
            chosen = pads.field("episode_index") == row.index
            table = pads.dataset(file, format="parquet").to_table(columns=wanted, filter=chosen, use_threads=False)
        except (OSError, ValueError, TypeError, NotImplementedError, MemoryError) as error:
            raise ForeignFileError(f"{key} cannot be read ({str(error)[:100]})") from error
        require(table.num_rows == row.length, key, f"has {table.num_rows} rows, and says {row.length}")
        return table

    def _pictures(self, name: str, row: _Row, table: Any, key: str) -> Frames:
        if self.features[name].get("dtype") == "image":
            require(name in table.column_names, key, f"has no column {name!r}")
            return pictures(table[name].to_pylist(), key)
        file = self._path(self.info.get("video_path", VIDEO_PATH), row, f"videos/{name}", video=name)
        start = _number(row.values.get(f"videos/{name}/from_timestamp", 0.0), f"{key}: from_timestamp")
        require(0 <= start < 1e7, key, f"begins at {start} s of its video")
        return read_frames(file, start, row.length, self.fps)

    def _instruction(self, row: _Row, number: int) -> str:
        tasks = row.values.get("tasks")
        if isinstance(tasks, list) and tasks and isinstance(tasks[0], str):
            return tasks[0][:1000]
        return self._tasks.get(number, "")

    def _success(self, table: Any, row: _Row, key: str) -> int:
        known = row.values.get(f"{EXTRA}/first_success")
        if isinstance(known, int):
            return known
        for name in ("next.success", "next.reward"):
            if name in table.column_names:
                flags = column(table, name, key) > 0
                # "next" is of the picture after the row's, of which the last is not there.
                return min(int(flags.argmax()) + 1, row.length - 1) if flags.any() else -1
        return -1

    def _path(self, template: object, row: _Row, prefix: str, video: str = "") -> Path:
        """The template filled in, by its own rules: str.format would follow attributes."""
        numbers = {n: row.values.get(f"{prefix}/{n}", 0) for n in ("chunk_index", "file_index")}
        require(isinstance(template, str) and len(template) < 300, "meta/info.json", "has a path that is no text")
        require(all(type(n) is int and n >= 0 for n in numbers.values()), prefix, f"has the place {numbers}")

        def fill(match: re.Match[str]) -> str:
            if match[1] == "video_key":
                return video
            require(match[1] in numbers, "meta/info.json", f"has a path with the unknown part {match[1]!r}")
            return str(numbers[match[1]]).zfill(int(match[2] or 0))

        path = (self.root / _FIELD.sub(fill, str(template))).resolve()
        require(path.is_relative_to(self.root), "meta/info.json", "has a path that leads out of the dataset")
        require(path.is_file(), path.relative_to(self.root), "is missing")
        return path


def _json(path: Path) -> Any:
    try:
        require(path.is_file() and path.stat().st_size < 16 << 20, path.name, "is missing or too large")
        return json.loads(path.read_text())
    except (ValueError, RecursionError, OSError) as error:
        raise ForeignFileError(f"{path.name} is not JSON ({str(error)[:100]})") from error


def _number(value: object, where: str) -> float:
    require(isinstance(value, int | float) and not isinstance(value, bool), where, f"is {str(value)[:40]!r}")
    number = float(value)  # type: ignore[arg-type]
    require(number == number and abs(number) < 1e12, where, f"is {number}")
    return number


def _short(value: object) -> str:
    return str(value)[:200] if isinstance(value, str | int) else ""
