"""LeRobotDataset v3.0 (write): shards of some episodes, each there whole or not at all, so that a killed export
goes on with the next one. Pictures go into mp4 videos (lossy), or losslessly into the rows.

An episode has one picture more than actions: its last row, the closing one, repeats the gripper and moves nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import ForeignFileError
from wovr_core.data.formats.lerobot import DATA_PATH, EXTRA, VERSION, VIDEO_PATH
from wovr_core.data.formats.lerobot_layout import IMAGE, WRIST, features, placed, schema
from wovr_core.data.formats.lerobot_stats import episode_stats, merge_stats
from wovr_core.data.formats.parquet_tables import pictures, read_table
from wovr_core.data.formats.video import CODECS, VideoWriter, read_frames
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import explain_disk_errors, read_json, write_json
from wovr_core.types import ACTION_DIM, FPS, PICTURE_CONVENTION, Episode, FloatArray, Frames

CHUNK_FILES = 1000
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_RECORD = "meta/wovr_export.json"


@dataclass(frozen=True)
class LeRobotConfig:
    """How a dataset is written."""

    pictures: str = "video"
    """"video": mp4, small and lossy; "image": PNG in the rows, to the bit."""
    codec: str = "h264"
    """Of the video: h264 or av1."""
    quality: int = 12
    """Constant rate factor of the video."""
    shard: int = 20
    """Episodes of one file."""

    def __post_init__(self) -> None:
        if self.pictures not in ("video", "image"):
            raise UnknownNameError("way to store pictures", self.pictures, ("video", "image"))
        if self.codec not in CODECS:
            raise UnknownNameError("video codec", self.codec, CODECS)
        if not 1 <= self.shard <= 10_000:
            raise WovrError(f"{self.shard} episodes in a file are out of range; 1 to 10000")


class LeRobotWriter:
    """Takes episodes one by one. They come in the same order each time; the first `done` of them are there already.

    Args:
        version: of the episodes; a folder that was begun with others is refused.
        instructions: of all tasks, in the order of their numbers.
    """

    def __init__(self, root: Path, version: str, instructions: Sequence[str], config: LeRobotConfig | None = None):
        self.root, self.config = root, config or LeRobotConfig()
        self._tasks = {instruction: i for i, instruction in enumerate(dict.fromkeys(instructions))}
        record = {"episodes": version, "config": asdict(self.config), "tasks": list(self._tasks)}
        existing = root / _RECORD
        if existing.exists():
            if read_json(existing) != record:
                raise WovrError(f"{root} holds an export of other episodes or options: choose another --out")
            for leftover in root.rglob(".*.tmp"):  # a kill's: a file has its name only once it is whole
                leftover.unlink()
        elif root.exists() and any(root.iterdir()):
            raise WovrError(f"{root} is not empty: choose another --out")
        else:
            write_json(existing, record)
        self._stack: ExitStack | None = None
        self._rows: list[dict[str, Any]] = []
        self._cells: list[dict[str, Any]] = []
        self._shape: tuple[int, ...] = ()
        self._streams: tuple[str, ...] = ()
        self._file, self.done, self._frames = self._resume()

    def write(self, episode: Episode) -> None:
        """Add one. A shard appears on disk when it is full."""
        if self._stack is None:
            self._open(episode)
        shape, streams = episode.frames.shape[1:], _names(episode)
        if shape != self._shape or streams != self._streams:
            raise WovrError(f"{episode.id} has pictures {shape} {streams}, others {self._shape} {self._streams}")
        rows = len(episode.frames)
        begin = sum(row["length"] for row in self._rows)
        place = {"chunk_index": self._file // CHUNK_FILES, "file_index": self._file % CHUNK_FILES}
        pictures = {IMAGE: episode.frames} | ({WRIST: episode.streams["wrist"]} if WRIST in self._streams else {})
        actions = closed(episode.actions)
        first = episode.first_success
        row = {
            "episode_index": self.done + len(self._rows),
            "tasks": [episode.task.instruction],
            "length": rows,
            **{f"data/{k}": v for k, v in place.items()},
            **{f"meta/episodes/{k}": v for k, v in place.items()},
            "dataset_from_index": self._frames + begin,
            "dataset_to_index": self._frames + begin + rows,
            f"{EXTRA}/id": episode.id,
            f"{EXTRA}/suite": episode.task.suite,
            f"{EXTRA}/source": episode.source,
            f"{EXTRA}/seed": episode.seed,
            f"{EXTRA}/first_success": -1 if first is None else first,
        }
        if self.config.pictures == "video":
            for name in pictures:
                row |= {f"videos/{name}/{k}": v for k, v in place.items()}
                row[f"videos/{name}/from_timestamp"] = begin / FPS
                row[f"videos/{name}/to_timestamp"] = (begin + rows) / FPS
        columns = self._columns(episode, actions, row)
        for key, values in episode_stats({**columns, **pictures}).items():
            row |= {f"stats/{key}/{what}": value.tolist() for what, value in values.items()}
        for i in range(rows):
            cell = {name: _plain(values[i]) for name, values in columns.items()}
            for name, frames in pictures.items():
                if self.config.pictures == "video":
                    self._videos[name].add(frames[i])
                else:
                    cell[name] = {"bytes": _png(frames[i]), "path": f"{row['episode_index']}-{i}.png"}
            self._cells.append(cell)
        self._rows.append(row)
        if len(self._rows) == self.config.shard:
            self._close()

    def finish(self) -> None:
        """Write the last shard, then info.json, stats.json and tasks.parquet. Raises WovrError if nothing came."""
        self._close()
        if not self.done:
            raise WovrError("there is no episode to export")
        import pyarrow as pa
        import pyarrow.parquet as parquet

        shards = [read_table(path, None).to_pylist() for path in self._shards()]
        rows = [row for shard in shards for row in shard]
        names = sorted({name[6:].rpartition("/")[0] for name in rows[0] if name.startswith("stats/")})
        stats = merge_stats([{name: _stats_of(row, name) for name in names} for row in rows])
        table = pa.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        # As pandas keeps an index, which is how LeRobot looks tasks up.
        kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
        columns = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, (kind, numpy) in kinds.items()
        ]
        index = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
        with placed(self.root / "meta" / "tasks.parquet") as path:
            parquet.write_table(table.replace_schema_metadata({"pandas": json.dumps(index)}), path)
        write_json(self.root / "meta" / "stats.json", stats)
        write_json(self.root / "meta" / "info.json", self._info(rows))

    def _resume(self) -> tuple[int, int, int]:
        """(files, episodes, frames) that are there whole: a shard's rows in meta/episodes are written last."""
        shards = [read_table(path, lambda name: name == "length") for path in self._shards()]
        lengths = [shard["length"].to_pylist() for shard in shards]
        return len(shards), sum(map(len, lengths)), sum(map(sum, lengths))

    def _shards(self) -> list[Path]:
        found: list[Path] = []
        while (path := self.root / _place(EPISODES_PATH, len(found))).is_file():
            found.append(path)
        return found

    def _open(self, episode: Episode) -> None:
        self._shape, self._streams = episode.frames.shape[1:], _names(episode)
        self._stack, self._videos = ExitStack(), {}
        if self.config.pictures == "video":
            for name in (IMAGE, *self._streams):
                path = self._stack.enter_context(placed(self.root / _place(VIDEO_PATH, self._file, name)))
                writer = VideoWriter(path, FPS, self.config.codec, self.config.quality)
                self._videos[name] = self._stack.enter_context(writer)

    def _close(self) -> None:
        if self._stack is None:
            return
        import pyarrow as pa
        import pyarrow.parquet as parquet

        with explain_disk_errors(self.root):
            self._stack.close()
            with placed(self.root / _place(DATA_PATH, self._file)) as path:
                parquet.write_table(pa.Table.from_pylist(self._cells, schema=schema(self._features())), path)
            with placed(self.root / _place(EPISODES_PATH, self._file)) as path:
                parquet.write_table(pa.Table.from_pylist(self._rows), path)
        self._file += 1
        self.done += len(self._rows)
        self._frames += sum(row["length"] for row in self._rows)
        self._rows, self._cells, self._stack = [], [], None

    def _columns(self, episode: Episode, actions: FloatArray, row: dict[str, Any]) -> dict[str, np.ndarray]:
        count = len(actions)
        last = np.arange(count) == count - 1
        solved = np.concatenate([episode.success[1:], episode.success[-1:]])
        return {
            "action": actions,
            "timestamp": (np.arange(count) / FPS).astype(np.float32),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, row["episode_index"]),
            "index": row["dataset_from_index"] + np.arange(count),
            "task_index": np.full(count, self._tasks[episode.task.instruction]),
            "next.reward": solved.astype(np.float32),
            "next.done": last,
            "next.success": solved,
        }

    def _features(self) -> dict[str, dict[str, Any]]:
        return features(self._shape, self._streams, self.config.pictures, self.config.codec)

    def _info(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        if not self._shape:  # every shard was there already
            known = read_json(self.root / "meta" / "info.json") if (self.root / "meta/info.json").exists() else {}
            if known:
                return dict(known)
            self._learn_shape(rows)
        return {
            "codebase_version": VERSION,
            "robot_type": "panda",
            "total_episodes": len(rows),
            "total_frames": sum(row["length"] for row in rows),
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": FPS,
            "splits": {"train": f"0:{len(rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.config.pictures == "video" else None,
            "features": self._features(),
            EXTRA: {"closing_row": True, "picture_convention": PICTURE_CONVENTION},
        }

    def _learn_shape(self, rows: list[dict[str, Any]]) -> None:
        if self.config.pictures == "video":
            picture = read_frames(self.root / _place(VIDEO_PATH, 0, IMAGE), 0.0, 1, FPS)
        else:
            table = read_table(self.root / _place(DATA_PATH, 0), lambda name: name == IMAGE)
            picture = pictures(table[IMAGE].to_pylist()[:1], IMAGE)
        self._shape = picture.shape[1:]
        self._streams = (WRIST,) if any(name.startswith(f"stats/{WRIST}/") for name in rows[0]) else ()


def closed(actions: FloatArray) -> FloatArray:
    """(T, 7) -> (T+1, 7): a last row that moves nothing and leaves the gripper as it is."""
    last = np.zeros((1, ACTION_DIM), np.float32)
    last[0, 6] = actions[-1, 6] if len(actions) else -1
    return np.concatenate([actions, last]).astype(np.float32)


def _names(episode: Episode) -> tuple[str, ...]:
    return (WRIST,) if "wrist" in episode.streams else ()


def _place(template: str, file: int, video: str = "") -> str:
    return template.format(chunk_index=file // CHUNK_FILES, file_index=file % CHUNK_FILES, video_key=video)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value.item()


def _png(picture: Frames) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _stats_of(row: dict[str, Any], name: str) -> dict[str, np.ndarray]:
    prefix = f"stats/{name}/"
    try:
        return {k.removeprefix(prefix): np.array(v, np.float64) for k, v in row.items() if k.startswith(prefix)}
    except (TypeError, ValueError) as error:
        raise ForeignFileError(f"meta/episodes has statistics of {name} that are no numbers ({error})") from error
