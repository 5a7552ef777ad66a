"""What readers and writers of foreign formats have in common.

A reader lists its episodes by key and reads any one of them: that is all that streaming, progress and resuming
need. It gives a Clip: what the file says, untouched, beside the conventions that the format is known to follow.
`conventions.to_episode` makes an Episode of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError

MAX_ARRAY_BYTES = 2 << 30
"""An array of one episode that claims to be larger is refused before it is read."""
MAX_SIDE = 4096
"""Pixels."""
MAX_EPISODES = 1_000_000


class ForeignFileError(WovrError):
    """A file of somebody else's format that cannot be read as such: damaged, hostile, or of another layout."""


@dataclass(frozen=True)
class Conventions:
    """What is done to a source's pictures and actions to make them ours. The defaults do nothing.

    Pictures are first flipped, then turned: a raw render of robosuite needs `rotate`, an upright picture both.
    """

    rotate: bool = False
    """Turn by 180 degrees."""
    flip: bool = False
    """Upside down."""
    bgr: bool = False
    """The source's channels are blue, green, red."""
    gripper_sign: int = 1
    """-1 where the source opens with +1."""
    gripper_01: bool = False
    """The source's gripper runs from 0 to 1 in place of -1 to 1; widened before its sign is taken."""
    shift_actions: int = 0
    """0: row t of the actions was executed at frame t; 1: it led to frame t."""
    fps: float = 0.0
    """Frames a second in the source; 0: what the source says, or 20."""
    size: int = 0
    """H = W to scale the pictures to; 0: as they are."""
    alphabetical: bool = False
    """The source numbers tasks by the alphabet of their instructions, not in LIBERO's order."""

    def __post_init__(self) -> None:
        if self.gripper_sign not in (1, -1):
            raise WovrError(f"gripper sign {self.gripper_sign} is neither 1 nor -1")
        if self.shift_actions not in (0, 1):
            raise WovrError(f"actions can be shifted by 0 or 1 rows, not {self.shift_actions}")
        if not 0 <= self.fps <= 1000:
            raise WovrError(f"{self.fps} frames a second are out of range; 1 to 1000")
        if self.size and not 16 <= self.size <= MAX_SIDE:
            raise WovrError(f"frame size {self.size} is out of range; 16 to {MAX_SIDE} pixels")


@dataclass(frozen=True)
class Clip:
    """One episode as a foreign file holds it."""

    key: str
    """Its name within the source."""
    frames: npt.NDArray[np.uint8]
    """(N, H, W, 3)"""
    actions: npt.NDArray[np.float32]
    """(M, 7), M = N, or N - 1 where the last frame has none."""
    instruction: str = ""
    suite: str = ""
    task: int = -1
    """The source's own number of the task; -1: it has none."""
    success: int = -1
    """Index of the first successful frame; -1: none."""
    fps: float = 0.0
    """0: the source does not say."""
    conventions: Conventions = field(default_factory=Conventions)
    """What the format is known to need."""
    streams: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Further pictures, each (N, H, W, 3): "wrist"."""
    file: str = ""
    """The file that it comes from, relative to the source."""
    info: Mapping[str, str] = field(default_factory=dict)


class EpisodeReader(Protocol):
    """A source of episodes. Building one lists them; nothing large is read before `read`."""

    def keys(self) -> list[str]:
        """Names of the episodes, in a stable order."""
        ...

    def read(self, key: str) -> Clip:
        """Raises ForeignFileError."""
        ...


def clips(reader: EpisodeReader) -> Iterator[Clip]:
    """All episodes, one at a time."""
    return (reader.read(key) for key in reader.keys())  # noqa: SIM118 - a reader is no mapping


def require(condition: bool, where: str | Path, otherwise: str) -> None:
    """ForeignFileError that says `otherwise` of the file unless the condition holds."""
    if not condition:
        raise ForeignFileError(f"{where} {otherwise}")


def check_clip(clip: Clip) -> Clip:
    """The clip, if its arrays fit together; whatever a reader gives goes through this."""
    where, frames, actions = clip.key, clip.frames, clip.actions
    require(frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3, where,
            f"has pictures {frames.dtype} {frames.shape}, not u8 (N, H, W, 3)")  # fmt: skip
    require(len(frames) >= 1, where, "has no pictures")
    require(min(frames.shape[1:3]) >= 1 and max(frames.shape[1:3]) <= MAX_SIDE, where,
            f"has pictures of {frames.shape[2]}x{frames.shape[1]} pixels")  # fmt: skip
    require(actions.ndim == 2 and actions.shape[1] == 7, where, f"has actions of shape {actions.shape}, not (T, 7)")
    require(len(frames) - 1 <= len(actions) <= len(frames), where,
            f"has {len(actions)} actions for {len(frames)} pictures")  # fmt: skip
    require(bool(np.isfinite(actions).all()), where, "has actions that are not finite")
    require(-1 <= clip.success < len(frames), where, f"has its success at frame {clip.success}")
    require(bool(np.isfinite(clip.fps)) and 0 <= clip.fps <= 1000, where, f"says {clip.fps} frames a second")
    for name, stream in clip.streams.items():
        require(len(stream) == len(frames), where, f"has {len(stream)} pictures {name} for {len(frames)} frames")
    return clip
