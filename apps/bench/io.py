"""Writing and reading the same episodes: our files beside HDF5 as LIBERO uses it, and LeRobot datasets."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apps.bench import Row, row
from apps.bench.doctor import clips_of
from wovr_core.data.episode_files import EpisodeSet, write_episode
from wovr_core.data.formats.lerobot import LeRobotReader
from wovr_core.data.formats.lerobot_write import LeRobotConfig, LeRobotWriter
from wovr_core.types import Episode, Frames, TaskId


@dataclass(frozen=True)
class Store:
    """One way to keep episodes in a folder."""

    name: str
    write: Callable[[Path, Sequence[Episode]], None]
    read: Callable[[Path], int]
    """Reads all and looks at every pixel; returns the number of frames."""


def run(
    suite: str = "libero_object", tasks: Sequence[int] = (0, 1), per_task: int = 4, size: int = 128, rounds: int = 3
) -> list[Row]:
    """MB of raw pictures a second, and bytes on disk; rounds alternate, so that a busy machine slows all, the best
    counts.

    The baseline of each row is h5py (uncompressed, one file, as LIBERO's demonstrations are); all files are synced.
    """
    episodes = _episodes(suite, tasks, per_task, size)
    raw = sum(episode.frames.nbytes for episode in episodes) / 1e6
    frames = sum(len(episode.frames) for episode in episodes)
    stores = (
        Store("h5py", _write_hdf5, _read_hdf5),
        Store("h5py gzip", lambda root, e: _write_hdf5(root, e, "gzip"), _read_hdf5),
        Store("ours", _write_ours, _read_ours),
        Store("ours, raw", lambda root, e: _write_ours(root, e, "raw"), _read_ours),
        Store("LeRobot video", lambda root, e: _write_lerobot(root, e, "video"), _read_lerobot),
        Store("LeRobot PNG", lambda root, e: _write_lerobot(root, e, "image"), _read_lerobot),
    )
    write, read = ({store.name: float("inf") for store in stores} for _ in range(2))
    size_mb: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for store in stores:
                root = Path(folder) / f"{store.name}-{turn}"
                root.mkdir()
                begin = time.perf_counter()
                store.write(root, episodes)
                written = time.perf_counter()
                count = store.read(root)
                done = time.perf_counter()
                if count != frames:
                    raise AssertionError(f"{store.name} gave {count} frames of {frames}")
                write[store.name] = min(write[store.name], written - begin)
                read[store.name] = min(read[store.name], done - written)
                size_mb[store.name] = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) / 1e6
    rows = []
    for what, times in (("write", write), ("read", read)):
        for name, seconds in times.items():
            rows.append(row(f"{what}, {name}", raw / seconds, "MB/s", raw / times["h5py"]))
    rows += [row(f"size, {name}", mb, "MB", size_mb["h5py"]) for name, mb in size_mb.items()]
    return rows


def _episodes(suite: str, tasks: Sequence[int], per_task: int, size: int) -> list[Episode]:
    sights, names = clips_of(suite, per_task, size, tasks)
    return [
        Episode(f"e{i:04d}", TaskId(suite, names[s.task].task, s.instruction), 0, "expert", s.frames, s.actions,
                np.zeros(len(s.frames), bool))
        for i, s in enumerate(sights)
    ]  # fmt: skip


def _write_ours(root: Path, episodes: Sequence[Episode], codec: str = "auto") -> None:
    for episode in episodes:
        write_episode(root, episode, codec)  # type: ignore[arg-type]


def _read_ours(root: Path) -> int:
    return sum(_looked_at(episode.frames) for episode in EpisodeSet(root))


def _looked_at(frames: Frames) -> int:
    """How many there are, after a look at every pixel: a memory map alone has read nothing yet."""
    frames.max()
    return len(frames)


def _write_hdf5(root: Path, episodes: Sequence[Episode], compression: str | None = None) -> None:
    import h5py

    path = root / "demo.hdf5"
    with h5py.File(path, "w") as file:
        for episode in episodes:
            group = file.create_group(f"data/{episode.id}")
            group.create_dataset("obs/agentview_rgb", data=episode.frames, compression=compression)
            group.create_dataset("actions", data=episode.actions)
            group.create_dataset("dones", data=episode.success)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _read_hdf5(root: Path) -> int:
    import h5py

    count = 0
    with h5py.File(root / "demo.hdf5", "r") as file:
        for group in file["data"].values():
            count += _looked_at(group["obs/agentview_rgb"][()])
            group["actions"][()]
            group["dones"][()]
    return count


def _write_lerobot(root: Path, episodes: Sequence[Episode], pictures: str) -> None:
    config = LeRobotConfig(pictures=pictures)
    writer = LeRobotWriter(root / "set", "bench", [episode.task.instruction for episode in episodes], config)
    for episode in episodes:
        writer.write(episode)
    writer.finish()


def _read_lerobot(root: Path) -> int:
    reader = LeRobotReader(root / "set")
    return sum(_looked_at(reader.read(key).frames) for key in reader.keys())  # noqa: SIM118 - a reader is no mapping
