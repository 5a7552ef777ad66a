"""From a foreign clip to an episode of ours: pictures turned, actions in our units, signs, rows and rate."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.data.formats.base import Clip, Conventions, ForeignFileError, require
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import read_json
from wovr_core.types import ACTION_DIM, FPS, Episode, FloatArray, Frames, TaskId


@dataclass(frozen=True)
class Statistics:
    """Of normalised actions: a = (x + 1) / 2 (q99 - q01) + q01 where the mask says so (OpenVLA, WMPO)."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]
    mask: tuple[bool, ...]

    def restore(self, actions: FloatArray) -> FloatArray:
        """(T, 7) normalised -> (T, 7) raw."""
        low, high = np.array(self.q01, np.float32), np.array(self.q99, np.float32)
        raw = (actions + 1) / 2 * (high - low) + low
        return np.where(np.array(self.mask), raw, actions).astype(np.float32)


def read_statistics(path: Path, key: str = "") -> Statistics:
    """From a dataset_statistics.json: {key: {"action": {"q01": [7], "q99": [7], "mask": [7]}}}.

    Raises:
        CorruptFileError: it cannot be read.
        WovrError: it holds several datasets and no key was given, or not such numbers.
    """
    values = read_json(path)
    require(isinstance(values, dict), path, "holds no statistics by dataset")
    if "action" not in values:
        if not key and len(values) != 1:
            raise WovrError(f"{path} has statistics of {', '.join(map(str, values))}: name one with --stats-key")
        name = key or next(iter(values))
        if name not in values:
            raise UnknownNameError(f"dataset in {path.name}:", name, values)
        values = values[name]
    try:
        action = values["action"]
        low, high = (tuple(float(v) for v in action[q]) for q in ("q01", "q99"))
        mask = tuple(bool(v) for v in action.get("mask", [True] * len(low)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ForeignFileError(f"{path} has no action quantiles q01 and q99 ({error})") from error
    require(len(low) == len(high) == len(mask) == ACTION_DIM, path, f"has quantiles of {len(low)} numbers, not 7")
    require(bool(np.isfinite([*low, *high]).all()), path, "has quantiles that are no finite numbers")
    return Statistics(low, high, mask)


def merge(known: Conventions, asked: dict[str, Any]) -> Conventions:
    """What the format is known to need, where the user did not ask for something else (None)."""
    return replace(known, **{name: value for name, value in asked.items() if value is not None})


def turn(pictures: npt.NDArray[Any], conventions: Conventions) -> npt.NDArray[Any]:
    """(N, H, W, ...) pictures of the source -> as we hold them (channels of colours included)."""
    if conventions.flip:
        pictures = pictures[:, ::-1]
    if conventions.rotate:
        pictures = pictures[:, ::-1, ::-1]
    if conventions.bgr and pictures.ndim == 4 and pictures.shape[-1] == 3:
        pictures = pictures[..., ::-1]
    return np.ascontiguousarray(pictures)


def resize(pictures: Frames, size: int) -> Frames:
    """(N, H, W, 3) -> (N, size, size, 3): by area if smaller, linearly if larger; untouched if equal or 0."""
    if not size or pictures.shape[1:3] == (size, size):
        return pictures
    import cv2

    method = cv2.INTER_AREA if size < pictures.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(picture, (size, size), interpolation=method) for picture in pictures])


def find_task(clip: Clip, tasks: Sequence[TaskId], alphabetical: bool) -> TaskId:
    """The task of a clip: by its instruction among `tasks` (one suite's, in LIBERO's order), else by its number.

    A clip of no known suite keeps its own instruction and number.
    """
    if not tasks:
        return TaskId(clip.suite or "foreign", max(clip.task, 0), clip.instruction)
    wanted = plain(clip.instruction)
    for task in tasks:
        if wanted and plain(task.instruction) == wanted:
            return task
    if wanted:
        raise UnknownNameError(f"instruction (in {tasks[0].suite})", clip.instruction, [t.instruction for t in tasks])
    order = sorted(tasks, key=lambda task: task.instruction) if alphabetical else list(tasks)
    if not 0 <= clip.task < len(order):
        raise ForeignFileError(f"{clip.key} has neither an instruction nor a task of {tasks[0].suite} ({clip.task})")
    return order[clip.task]


def plain(instruction: str) -> str:
    """For comparing: lower case, single spaces, no closing full stop."""
    return re.sub(r"[\s_]+", " ", instruction).strip().strip('."').lower()


def to_episode(
    clip: Clip,
    conventions: Conventions,
    tasks: Sequence[TaskId] = (),
    statistics: Statistics | None = None,
    lineage: dict[str, str] | None = None,
    source: str = "expert",
) -> Episode:
    """An Episode; its `info` holds the lineage.

    Raises:
        ForeignFileError: the clip is slower than 20 frames a second, or no multiple of it.
        UnknownNameError: its instruction is none of the suite's.
    """
    actions = our_actions(clip, conventions, statistics)
    frames = resize(turn(clip.frames, conventions), conventions.size)
    streams = {name: resize(turn(stream, conventions), conventions.size) for name, stream in clip.streams.items()}
    success = np.zeros(len(frames), dtype=np.bool_)
    if clip.success >= 0:
        success[clip.success :] = True
    stride = _stride(clip, conventions)
    if stride > 1:
        frames, actions, success = frames[::stride], _join(actions, stride), _last_of(success, stride)
        streams = {name: stream[::stride] for name, stream in streams.items()}
        frames = frames[: len(actions) + 1]
        success = success[: len(frames)]
        streams = {name: stream[: len(frames)] for name, stream in streams.items()}
    return Episode(
        id=episode_id(clip.key),
        task=find_task(clip, tasks, conventions.alphabetical),
        seed=0,
        source=source,
        frames=np.ascontiguousarray(frames),
        actions=np.ascontiguousarray(actions),
        success=success,
        streams=streams,
        info={**clip.info, **(lineage or {}), "imported_key": clip.key},
    )


def episode_id(key: str) -> str:
    """A file name for an episode of this key: readable, unique, and the same each time."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-")[-64:]
    return f"{readable}-{digest}"


def describe(conventions: Conventions) -> str:
    """JSON of what differs from doing nothing."""
    idle = asdict(Conventions())
    return json.dumps({k: v for k, v in asdict(conventions).items() if v != idle[k]}, sort_keys=True)


def our_actions(clip: Clip, conventions: Conventions, statistics: Statistics | None = None) -> FloatArray:
    """(N - 1, 7) of a clip of N pictures: raw, with our gripper, each executed at the picture of its row."""
    actions = clip.actions.astype(np.float32)
    if statistics is not None:
        actions = statistics.restore(actions)
    actions, count = with_our_gripper(actions, conventions), len(clip.frames) - 1
    # The action that led to the first picture, or the one whose result is not shown, goes.
    return actions[1:] if conventions.shift_actions and len(actions) > count else actions[:count]


def with_our_gripper(actions: FloatArray, conventions: Conventions) -> FloatArray:
    """(T, A) -> (T, A), a copy whose last column opens with -1 and closes with +1."""
    actions = actions.copy()
    if conventions.gripper_01:
        actions[:, 6] = 2 * actions[:, 6] - 1
    actions[:, 6] *= conventions.gripper_sign
    return actions


def _stride(clip: Clip, conventions: Conventions) -> int:
    fps = conventions.fps or clip.fps or FPS
    stride = round(fps / FPS)
    if stride < 1 or abs(fps / FPS - stride) > 0.01:
        raise ForeignFileError(
            f"{clip.key} has {fps:g} frames a second, which is no multiple of our {FPS}; if that is not so, or to "
            f"take it frame by frame all the same, say --fps {FPS}"
        )
    return stride


def _join(actions: FloatArray, stride: int) -> FloatArray:
    """(T, 7) -> (T // stride, 7): displacements add up, the last gripper command holds."""
    whole = len(actions) // stride * stride
    groups = actions[:whole].reshape(-1, stride, ACTION_DIM)
    joined = groups.sum(axis=1)
    joined[:, 6] = groups[:, -1, 6]
    return joined.astype(np.float32)


def _last_of(success: npt.NDArray[np.bool_], stride: int) -> npt.NDArray[np.bool_]:
    """Each stride-th flag, or-ed with those skipped before it."""
    return np.array([success[max(0, i - stride + 1) : i + 1].any() for i in range(0, len(success), stride)])
