"""RLinf-Wan's `dataset/` (read and write): starts of imagined rollouts as pickled lists of frames.

`traj{i}.npy` is a 1-D object array of dicts, one per frame: `image` u8 (H, W, 3) RGB turned by 180 degrees,
`delta_action` (7,), `instruction` or `task`. RLinf tells a keyframe-initialised start by its *length*, not its
name: frame 0 is the reference, and where at least 4 more follow, the last 4 are the context. A frame carries the
action that *produced* it.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import Clip, Conventions, ForeignFileError, check_clip, require
from wovr_core.data.formats.restricted import MAX_FILE_BYTES, load_npy, resolve
from wovr_core.errors import WovrError
from wovr_core.files import write_bytes
from wovr_core.types import ACTION_DIM, CONTEXT_FRAMES, NULL_ACTION, RECENT_FRAMES, FloatArray, Frames

SIDE = 256
"""Pixels of RLinf's pictures."""
_NAME = re.compile(r"traj(\d{1,9})(_kir)?\.npy")


@dataclass(frozen=True)
class RLinfStart:
    """One file: a first frame alone, or a reference and its recent frames."""

    instruction: str
    frames: Frames
    """(1, H, W, 3) or (F, H, W, 3)."""
    actions: FloatArray
    """(1, 7) or (F, 7), each the one that produced its frame."""
    pose: FloatArray | None = None
    """`init_ee_pose`, where there is one."""

    @property
    def keyframe(self) -> bool:
        """Whether RLinf takes it for a keyframe-initialised start."""
        return len(self.frames) >= 1 + RECENT_FRAMES

    def context(self) -> tuple[Frames, FloatArray]:
        """What the world model is given, (F, H, W, 3) and (F, 7), by RLinf's rule of length."""
        rows = (
            [0, *range(len(self.frames) - RECENT_FRAMES, len(self.frames))] if self.keyframe else [0] * CONTEXT_FRAMES
        )
        return self.frames[rows], self.actions[rows]


class RLinfReader:
    """The folder, or the one above it that holds `dataset/`, or one file."""

    def __init__(self, path: Path) -> None:
        folder = path / "dataset" if (path / "dataset").is_dir() else path
        found = sorted(folder.glob("*.npy"), key=_order) if folder.is_dir() else [folder]
        require(bool(found), folder, "holds no traj0.npy")
        self._files = {file.name: file for file in found}

    def keys(self) -> list[str]:
        return list(self._files)

    def start(self, key: str) -> RLinfStart:
        """The file as RLinf understands it. Raises ForeignFileError."""
        try:
            return _read(self._files[key], key)
        except (TypeError, ValueError, OverflowError) as error:
            raise ForeignFileError(f"{key} has a frame that cannot be read ({str(error)[:100]})") from error

    def read(self, key: str) -> Clip:
        start = self.start(key)
        return check_clip(
            Clip(
                key=key,
                frames=start.frames,
                actions=start.actions,
                instruction=start.instruction,
                conventions=Conventions(shift_actions=1),
                file=key,
                # Between the reference and the context time jumps: for contexts, not for learning how things move.
                info={"kir": "true" if start.keyframe else "false"},
            )
        )


def write_start(folder: Path, index: int, start: RLinfStart) -> Path:
    """Write `traj{index}.npy`, or `traj{index}_kir.npy` for a keyframe; returns the path.

    Raises:
        WovrError: pictures or actions of other shapes; a number of frames that RLinf would take for something else.
    """
    frames, actions = start.frames, start.actions
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) not in (1, CONTEXT_FRAMES):
        raise WovrError(f"an RLinf start has 1 or {CONTEXT_FRAMES} u8 RGB frames, not {frames.dtype} {frames.shape}")
    if actions.shape != (len(frames), ACTION_DIM):
        raise WovrError(f"{len(frames)} frames need as many actions of 7 numbers, not {actions.shape}")
    rows = np.empty(len(frames), dtype=object)
    for i, (frame, action) in enumerate(zip(frames, actions, strict=True)):
        rows[i] = {
            "image": np.ascontiguousarray(frame),
            "delta_action": action.astype(np.float32),
            "instruction": start.instruction,
        }
        if start.pose is not None:
            rows[i]["init_ee_pose"] = np.asarray(start.pose, dtype=np.float32)
    buffer = io.BytesIO()
    # The format is a pickle; it is written for RLinf to read. Here only the restricted unpickler reads any.
    np.save(buffer, rows, allow_pickle=True)
    path = folder / f"traj{index}{'_kir' if len(frames) > 1 else ''}.npy"
    write_bytes(path, buffer.getvalue())
    return path


def check_enough(count: int, environments: int) -> None:
    """RLinf deals files to its parallel environments and needs one for each. Raises WovrError."""
    if count < environments:
        raise WovrError(
            f"{count} starts are too few for {environments} parallel environments: RLinf needs at least one file for "
            "each; export more, or say --envs with the number you will use"
        )


def plain_start(frame: Frames, instruction: str) -> RLinfStart:
    """From an episode's first frame (H, W, 3), which no action produced."""
    return RLinfStart(instruction, frame[None], NULL_ACTION[None])


def _order(path: Path) -> tuple[int, str]:
    match = _NAME.fullmatch(path.name)
    return (int(match[1]) if match else 1 << 40, path.name)


def _read(path: Path, key: str) -> RLinfStart:
    require(path.is_file() and path.stat().st_size <= MAX_FILE_BYTES, key, "is missing or too large")
    rows = load_npy(path.read_bytes(), key)
    require(rows.dtype == object and rows.ndim == 1 and len(rows) >= 1, key, "is no list of frames")
    frames: list[Frames] = []
    actions: list[FloatArray] = []
    for i, row in enumerate(rows):
        where = f"{key} frame {i}"
        require(isinstance(row, dict), where, "is no dict")
        image = resolve(row.get("image"))
        good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3
        require(good, where, "has no u8 RGB 'image'")
        require(not frames or image.shape == frames[0].shape, where, f"has an image of {image.shape}")
        frames.append(image)
        known = resolve(row.get("delta_action"))
        require(known is not None or i > 0, where, "has no 'delta_action'")
        actions.append(NULL_ACTION if known is None else _numbers(known, ACTION_DIM, where))
    pose = resolve(rows[0].get("init_ee_pose"))
    return RLinfStart(
        _instruction(rows[0], key),
        np.stack(frames),
        np.stack(actions),
        None if pose is None else _numbers(pose, None, key),
    )


def _numbers(value: Any, count: int | None, where: str) -> FloatArray:
    listed = isinstance(value, list | tuple) and all(isinstance(resolve(v), int | float | np.number) for v in value)
    require(listed or isinstance(value, np.ndarray), where, "has something that is no numbers where an action belongs")
    array = value if isinstance(value, np.ndarray) else np.array([float(resolve(v)) for v in value])
    require(array.dtype.kind in "fiu" and array.ndim == 1, where, f"has an action {array.dtype} {array.shape}")
    require(count is None or len(array) == count, where, f"has an action of {len(array)} numbers, not {count}")
    require(len(array) <= 64, where, f"has {len(array)} numbers of a pose")
    return array.astype(np.float32)


def _instruction(row: dict[Any, Any], where: str) -> str:
    value = resolve(row.get("instruction", row.get("task", "")))
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    require(isinstance(value, str), where, "has an instruction that is no text")
    return str(value)[:1000]
