"""One safetensors file per episode or rollout, and folders of them.

Tensors by name (see `_EPISODE_ARRAYS`, `_ROLLOUT_ARRAYS`), metadata as JSON in the header under "wovr".
A file is written atomically; reading checks every tensor's dtype and shape and raises CorruptFileError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wovr_core.errors import CorruptFileError, UnknownNameError
from wovr_core.files import fingerprint, sha256_file, write_bytes, write_json
from wovr_core.types import ACTION_DIM, FPS, PICTURE_CONVENTION, Episode, FloatArray, Rollout, Start, TaskId

SCHEMA = 1
SUFFIX = ".safetensors"
_META = "wovr"

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
_ROLLOUT_ARRAYS = {
    "context_frames": (np.uint8, 4, True),
    "context_actions": (np.float32, 2, True),
    "sim_states": (np.float64, 2, True),
    "frames": (np.uint8, 4, True),
    "actions": (np.float32, 2, True),
    "action_tokens": (np.int64, 3, True),
    "log_probs": (np.float32, 3, True),
    "p_success": (np.float32, 1, True),
    "loss_mask": (np.bool_, 2, True),
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


def write_episode(folder: Path, episode: Episode) -> Path:
    """Write `folder/<id>.safetensors`; returns the path."""
    arrays = {name: getattr(episode, name) for name in _EPISODE_ARRAYS}
    meta = {
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
    return _write(folder / f"{episode.id}{SUFFIX}", arrays, meta)


def read_episode(path: Path) -> Episode:
    arrays, meta = _read(path, "episode", _EPISODE_ARRAYS)
    length = len(arrays["actions"])
    _expect(path, len(arrays["frames"]) == length + 1, "has not one frame more than actions")
    _expect(path, len(arrays["success"]) == length + 1, "has not one success flag per frame")
    return Episode(
        id=meta["id"],
        task=TaskId(meta["suite"], meta["task"], meta["instruction"]),
        seed=meta["seed"],
        source=meta["source"],
        info=meta["info"],
        **{name: arrays.get(name) for name in _EPISODE_ARRAYS},  # type: ignore[arg-type]
    )


def read_episode_summary(path: Path) -> EpisodeSummary:
    """Header only: cheap for thousands of files."""
    meta = _read_meta(path, "episode")
    task = TaskId(meta["suite"], meta["task"], meta["instruction"])
    return EpisodeSummary(
        meta["id"], task, meta["seed"], meta["source"], meta["length"], meta["succeeded"], meta["info"]
    )


def write_rollout(folder: Path, rollout: Rollout) -> Path:
    """Write `folder/<id>.safetensors`; returns the path."""
    arrays = {name: getattr(rollout, name) for name in _ROLLOUT_ARRAYS if name != "sim_states"}
    arrays["sim_states"] = rollout.sim_state[None]
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
    return _write(folder / f"{rollout.id}{SUFFIX}", arrays, meta)


def read_rollout(path: Path) -> Rollout:
    arrays, meta = _read(path, "rollout", _ROLLOUT_ARRAYS)
    _expect(path, len(arrays["frames"]) == len(arrays["actions"]) + 1, "has not one frame more than actions")
    sim_states = arrays.pop("sim_states")
    return Rollout(
        id=meta["id"],
        task=TaskId(meta["suite"], meta["task"], meta["instruction"]),
        start=Start(**meta["start"]),
        group_id=meta["group_id"],
        sampler_seed=meta["sampler_seed"],
        reward=meta["reward"],
        versions=meta["versions"],
        info=meta["info"],
        sim_state=sim_states[0],
        **arrays,
    )


def read_rollout_summary(path: Path) -> RolloutSummary:
    """Header and p_success only: about a fifth of a millisecond. A file that was cut short is noticed."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = _parse_meta(path, file.metadata() or {}, "rollout")
            p_success = file.get_tensor("p_success")
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); delete it and run the stage that wrote it again"
        ) from error
    _expect(path, p_success.dtype == np.float32 and p_success.ndim == 1, "has no usable tensor 'p_success'")
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


def _write(path: Path, arrays: Mapping[str, Any], meta: dict[str, Any]) -> Path:
    present = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}
    meta |= {
        "schema": SCHEMA,
        "fps": FPS,
        "frame_stride": 1,
        "picture_convention": PICTURE_CONVENTION,
    }
    write_bytes(path, save(present, metadata={_META: json.dumps(meta, sort_keys=True)}))
    return path


def _read_meta(path: Path, kind: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); delete it and run the stage that wrote it again"
        ) from error
    return _parse_meta(path, header, kind)


def _parse_meta(path: Path, header: Mapping[str, str], kind: str) -> dict[str, Any]:
    try:
        meta = json.loads(header[_META])
        schema, found = meta["schema"], meta["type"]
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{path} has no wovr metadata; it is not one of our {kind} files") from error
    _expect(path, schema == SCHEMA, f"has format {schema}, this version reads {SCHEMA}")
    _expect(path, found == kind, f"holds a {found}, not a {kind}")
    return dict(meta)


def _read(
    path: Path, kind: str, layout: Mapping[str, tuple[Any, int, bool]]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            meta = _parse_meta(path, file.metadata() or {}, kind)
            arrays = {name: file.get_tensor(name) for name in file.keys() if name in layout}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); delete it and run the stage that wrote it again"
        ) from error
    for name, (dtype, rank, required) in layout.items():
        if name not in arrays:
            _expect(path, not required, f"lacks the tensor {name!r}")
            continue
        array = arrays[name]
        right = array.dtype == dtype and array.ndim == rank
        _expect(path, right, f"has {name!r} as {array.dtype} of rank {array.ndim}, not {dtype.__name__} of {rank}")
    _expect(path, arrays["actions"].shape[1] == ACTION_DIM, f"has actions of {arrays['actions'].shape[1]} numbers")
    _expect(path, arrays["frames"].shape[-1] == 3, "has frames that are not RGB")
    return arrays, meta


def _expect(path: Path, condition: bool, otherwise: str) -> None:
    if not condition:
        raise CorruptFileError(f"{path} {otherwise}; delete it and run the stage that wrote it again")
