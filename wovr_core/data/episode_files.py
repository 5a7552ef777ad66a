"""One safetensors file per episode or rollout, and folders of them.

Tensors by name (see `_EPISODE_ARRAYS`, `_ROLLOUT_ARRAYS`), metadata as JSON in the header under "wovr". An
episode's large arrays are stored by `array_codecs`, lossless; the metadata say how under "encoded". Streams are
tensors "stream.<name>", decoded when they are asked for. Format 1 had neither and is read as before.
A file is written atomically; reading checks every tensor's dtype and shape and raises CorruptFileError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wovr_core.data.array_codecs import Array, Codec, encode
from wovr_core.data.tensor_files import expect, open_file, read_arrays, write_file
from wovr_core.errors import CorruptFileError, UnknownNameError, WovrError
from wovr_core.files import fingerprint, sha256_file, write_json
from wovr_core.types import Episode, FloatArray, Rollout, Start, TaskId

SUFFIX = ".safetensors"

_EPISODE_ARRAYS = {
    # name: (dtype, rank, required)
    "frames": (np.uint8, 4, True),
    "actions": (np.float32, 2, True),
    "success": (np.bool_, 1, True),
    "sim_states": (np.float64, 2, False),
    "clean_actions": (np.float32, 2, False),
    "action_tokens": (np.int64, 3, False),
    "log_probs": (np.float32, 3, False),
}
_ENCODED = ("frames", "sim_states")
_STREAM = "stream."
_ROLLOUT_ARRAYS = {
    "context_frames": (np.uint8, 4, True),
    "context_actions": (np.float32, 2, True),
    "sim_states": (np.float64, 2, False),
    "frames": (np.uint8, 4, True),
    "actions": (np.float32, 2, True),
    "action_tokens": (np.int64, 3, True),
    "log_probs": (np.float32, 3, True),
    "p_success": (np.float32, 1, True),
    "loss_mask": (np.bool_, 2, True),
    "p_outcome": (np.float32, 1, False),
}


@dataclass(frozen=True)
class EpisodeSummary:
    """What lists and catalogues need of an episode, without its arrays."""

    id: str
    task: TaskId
    seed: int
    source: str
    length: int
    succeeded: bool
    info: dict[str, str]


@dataclass(frozen=True)
class RolloutSummary:
    """What lists need of a rollout, without its pictures."""

    id: str
    task: TaskId
    start: Start
    group_id: str
    length: int
    """Imagined actions, K*C."""
    reward: float
    imagined_success: bool
    p_success: FloatArray
    """(K*C+1,)"""
    versions: dict[str, str]
    info: dict[str, str]


def write_episode(folder: Path, episode: Episode, codec: Codec = "auto") -> Path:
    """Write `folder/<id>.safetensors`; returns the path.

    Args:
        codec: of frames and streams; "webp" serves for what is no colour picture as "auto".
    Raises:
        WovrError: a stream has not one entry per frame.
    """
    arrays = {name: getattr(episode, name) for name in _EPISODE_ARRAYS}
    large = {name: arrays.pop(name) for name in _ENCODED if arrays[name] is not None}
    for name, stream in episode.streams.items():
        if len(stream) != len(episode.frames):
            raise WovrError(f"{episode.id}: stream {name!r} has {len(stream)} entries for {len(episode.frames)} frames")
        large[_STREAM + name] = stream
    encoded = {}
    for name, array in large.items():
        coloured = array.ndim == 4 and array.dtype == np.uint8
        tensors, description = encode(name, array, "auto" if codec == "webp" and not coloured else codec)
        arrays |= tensors
        if description:
            encoded[name] = description
    meta = {
        "encoded": encoded,
        "streams": sorted(episode.streams),
        "type": "episode",
        "id": episode.id,
        "suite": episode.task.suite,
        "task": episode.task.task,
        "instruction": episode.task.instruction,
        "seed": episode.seed,
        "source": episode.source,
        "length": episode.length,
        "succeeded": episode.succeeded,
        "info": episode.info,
    }
    return write_file(folder / f"{episode.id}{SUFFIX}", arrays, meta)


def read_episode(path: Path) -> Episode:
    arrays, meta = read_arrays(path, "episode", _EPISODE_ARRAYS)
    length = len(arrays["actions"])
    expect(path, len(arrays["frames"]) == length + 1, "has not one frame more than actions")
    expect(path, len(arrays["success"]) == length + 1, "has not one success flag per frame")
    return Episode(
        id=meta["id"],
        task=TaskId(meta["suite"], meta["task"], meta["instruction"]),
        seed=meta["seed"],
        source=meta["source"],
        info=meta["info"],
        streams=StoredStreams(path, meta["streams"]) if meta["streams"] else {},
        **{name: arrays.get(name) for name in _EPISODE_ARRAYS},  # type: ignore[arg-type]
    )


class StoredStreams(Mapping[str, Array]):
    """The streams of an episode file. Each look-up opens the file and decodes one; nothing is kept."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path = path
        self._names = tuple(names)

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        with open_file(self._path, "episode") as file:
            return file.array(_STREAM + name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_episode_summary(path: Path) -> EpisodeSummary:
    """Header only: cheap for thousands of files."""
    with open_file(path, "episode") as file:
        meta = file.meta
    task = TaskId(meta["suite"], meta["task"], meta["instruction"])
    return EpisodeSummary(
        meta["id"], task, meta["seed"], meta["source"], meta["length"], meta["succeeded"], meta["info"]
    )


def write_rollout(folder: Path, rollout: Rollout) -> Path:
    """Write `folder/<id>.safetensors`; returns the path."""
    arrays = {name: getattr(rollout, name) for name in _ROLLOUT_ARRAYS if name != "sim_states"}
    arrays["sim_states"] = None if rollout.sim_state is None else rollout.sim_state[None]
    meta = {
        "type": "rollout",
        "id": rollout.id,
        "suite": rollout.task.suite,
        "task": rollout.task.task,
        "instruction": rollout.task.instruction,
        "start": {"episode_id": rollout.start.episode_id, "step": rollout.start.step},
        "group_id": rollout.group_id,
        "sampler_seed": rollout.sampler_seed,
        "reward": rollout.reward,
        "imagined_success": rollout.imagined_success,
        "versions": rollout.versions,
        "info": rollout.info,
    }
    return write_file(folder / f"{rollout.id}{SUFFIX}", arrays, meta)


def read_rollout(path: Path) -> Rollout:
    arrays, meta = read_arrays(path, "rollout", _ROLLOUT_ARRAYS)
    expect(path, len(arrays["frames"]) == len(arrays["actions"]) + 1, "has not one frame more than actions")
    sim_states = arrays.pop("sim_states", None)
    expect(path, sim_states is None or len(sim_states) == 1, "has not one simulator state")
    return Rollout(
        id=meta["id"],
        task=TaskId(meta["suite"], meta["task"], meta["instruction"]),
        start=Start(**meta["start"]),
        group_id=meta["group_id"],
        sampler_seed=meta["sampler_seed"],
        reward=meta["reward"],
        versions=meta["versions"],
        info=meta["info"],
        sim_state=None if sim_states is None else sim_states[0],
        **arrays,
    )


def read_rollout_summary(path: Path) -> RolloutSummary:
    """Header and p_success only: about a fifth of a millisecond. A file that was cut short is noticed."""
    with open_file(path, "rollout") as file:
        meta, p_success = file.meta, file.stored("p_success")
    expect(path, p_success.dtype == np.float32 and p_success.ndim == 1, "has no usable tensor 'p_success'")
    return RolloutSummary(
        id=meta["id"],
        task=TaskId(meta["suite"], meta["task"], meta["instruction"]),
        start=Start(**meta["start"]),
        group_id=meta["group_id"],
        length=len(p_success) - 1,
        reward=meta["reward"],
        imagined_success=meta["imagined_success"],
        p_success=p_success,
        versions=meta["versions"],
        info=meta["info"],
    )


class EpisodeSet:
    """A folder of episode files. The files are the truth: the set's version is made of their digests."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CorruptFileError(f"there is no episode folder at {folder}; run `wovr run collect` first")
        self.folder = folder
        self.paths = {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Episode]:
        return (read_episode(path) for path in self.paths.values())

    def read(self, episode_id: str) -> Episode:
        if episode_id not in self.paths:
            raise UnknownNameError(f"episode in {self.folder}:", episode_id, self.paths)
        return read_episode(self.paths[episode_id])

    def summaries(self) -> list[EpisodeSummary]:
        return [read_episode_summary(path) for path in self.paths.values()]

    def write_index(self) -> str:
        """Write index.json (id -> sha256) beside the files; returns the set's version."""
        index = {name: sha256_file(path) for name, path in self.paths.items()}
        write_json(self.folder / "index.json", index)
        return fingerprint(index)
