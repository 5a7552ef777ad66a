"""Cameras without a camera: a recording (frames of an episode, or a video file), and a simulation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from wovr_core.errors import MissingDependencyError
from wovr_core.robots.base import CameraError, CameraFrame, Clock
from wovr_core.robots.camera_base import CameraConfig, ReaderCamera, check_fresh
from wovr_core.robots.clock import WallClock
from wovr_core.types import Frames


class RecordedCamera(ReaderCamera):
    """Plays frames at the recording's rate: an array (T, H, W, 3) u8, or a video file.

    When it ends the camera is as good as unplugged, unless `loop`.
    """

    def __init__(self, source: Frames | Path, config: CameraConfig | None = None, loop: bool = False) -> None:
        super().__init__(config or CameraConfig(fps=20.0))
        self._source, self._loop = source, loop
        self._frames: Iterator[Frames] = iter(())
        self._number = 0
        self._started = 0.0

    def _open(self) -> None:
        if isinstance(self._source, Path) and not self._source.is_file():
            raise CameraError(f"there is no recording at {self._source}")
        self._frames, self._number, self._started = self._play(), 0, time.monotonic()

    def _play(self) -> Iterator[Frames]:
        while True:
            yield from self._source if isinstance(self._source, np.ndarray) else video_frames(self._source)
            if not self._loop:
                return

    def _grab(self) -> tuple[Frames, float, int]:
        rgb = next(self._frames, None)
        if rgb is None:
            raise CameraError(f"camera {self.name}: the recording ended after {self._number} frames")
        due = self._number / self.config.fps
        self._end.wait(max(0.0, self._started + due - time.monotonic()))
        self._number += 1
        return rgb, due, self._number

    def _close(self) -> None:
        self._frames = iter(())


def video_frames(path: Path) -> Iterator[Frames]:
    """The frames of a video file, (H, W, 3) u8 each. Raises CameraError, MissingDependencyError."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("reading videos needs PyAV: pip install 'wovr-workbench[data]'") from error
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.error.FFmpegError, IndexError) as error:
        raise CameraError(f"{path} is not a video that can be read: {error}") from error


class SimulatedCamera:
    """Renders on demand, by the clock of the simulated robot: no thread, so that tests are exact.

    `render()` returns (H, W, 3) u8 of the present instant. Faults: `unplug`, `freeze`.
    """

    def __init__(
        self, render: Callable[[], Frames], config: CameraConfig | None = None, clock: Clock | None = None
    ) -> None:
        self.config = config or CameraConfig(fps=20.0)
        self._render, self._clock = render, clock or WallClock()
        self._connected = self._unplugged = self._frozen = False
        self._started = 0.0
        self._frame: CameraFrame | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def fps(self) -> float:
        return self.config.fps

    def connect(self) -> None:
        if self._unplugged:
            raise CameraError(f"there is no camera {self.name}")
        self._connected, self._started, self._frame = True, self._clock.now(), None

    def disconnect(self) -> None:
        self._connected = False

    def unplug(self) -> None:
        """Every later read fails."""
        self._unplugged = True

    def freeze(self, frozen: bool = True) -> None:
        """It hangs: the last frame is repeated with its old time."""
        self._frozen = frozen

    def read(self) -> CameraFrame:
        if self._unplugged:
            raise CameraError(f"camera {self.name} no longer delivers: is it still plugged in? Connect it again")
        if not self._connected:
            raise CameraError(f"camera {self.name} is not connected: connect() first")
        now = self._clock.now()
        number = int((now - self._started) * self.fps + 1e-6) + 1
        if self._frame is None or (number > self._frame.frame_no and not self._frozen):
            self._frame = CameraFrame(self._render(), now - self._started, now, number)
        check_fresh(self.name, self._frame, now, self.fps)
        return self._frame

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
