"""Cameras: RealSense, OpenCV devices, recordings and simulations, all with a reader thread and a staleness check.

The reader keeps the newest frame only. `read` hands it out, or fails: a frame older than two periods must not
be acted on, and a camera that was unplugged says so at the next step, not at the end of the trial.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from wovr_core.errors import MissingDependencyError
from wovr_core.robots.base import CameraError, CameraFrame, Clock, StaleCameraError
from wovr_core.robots.clock import WallClock
from wovr_core.types import Frames

STALE_PERIODS = 2.0
FIRST_FRAME_TIMEOUT = 5.0
"""s: cameras take a while to deliver their first frame."""


@dataclass(frozen=True)
class CameraConfig:
    name: str = "front"
    width: int = 640
    height: int = 480
    fps: float = 30.0


class ReaderCamera(ABC):
    """`CameraProtocol`: a thread calls `_grab` for as long as the camera is connected."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self._lock = threading.Condition()
        self._frame: CameraFrame | None = None
        self._failure: CameraError | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def fps(self) -> float:
        return self.config.fps

    def connect(self) -> None:
        if self._thread is not None:
            return
        self._open()
        self._frame, self._failure = None, None
        self._end.clear()
        self._thread = threading.Thread(target=self._run, name=f"camera-{self.name}", daemon=True)
        self._thread.start()

    def disconnect(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._end.set()
        thread.join(timeout=5)
        self._close()

    def read(self) -> CameraFrame:
        with self._lock:
            if self._thread is None:
                raise CameraError(f"camera {self.name} is not connected: connect() first")
            if self._frame is None and self._failure is None:
                self._lock.wait_for(lambda: self._frame is not None or self._failure is not None, FIRST_FRAME_TIMEOUT)
            frame, failure = self._frame, self._failure
        if failure is not None:
            raise CameraError(str(failure)) from failure
        if frame is None:
            raise CameraError(f"camera {self.name} sent no frame within {FIRST_FRAME_TIMEOUT:g} s")
        check_fresh(self.name, frame, time.monotonic(), self.fps)
        return frame

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                rgb, t_device, number = self._grab()
                frame = CameraFrame(rgb, t_device, time.monotonic(), number)
            except Exception as error:
                with self._lock:
                    self._failure = error if isinstance(error, CameraError) else self._lost(error)
                    self._lock.notify_all()
                return
            with self._lock:
                self._frame = frame
                self._lock.notify_all()

    def _lost(self, error: Exception | None = None) -> CameraError:
        why = f" ({' '.join(str(error).split())})" if error else ""
        return CameraError(f"camera {self.name} no longer delivers{why}: is it still plugged in? Connect it again")

    @abstractmethod
    def _open(self) -> None:
        """Raises CameraError, MissingDependencyError."""

    @abstractmethod
    def _grab(self) -> tuple[Frames, float, int]:
        """Wait for the next frame: (H, W, 3) u8 RGB, device time (s), its number. Raises when there is none."""

    @abstractmethod
    def _close(self) -> None: ...


def check_fresh(name: str, frame: CameraFrame, now: float, fps: float) -> None:
    """Raises StaleCameraError for a frame older than two periods."""
    age = now - frame.t_host
    if age > STALE_PERIODS / fps:
        raise StaleCameraError(
            f"camera {name}: the newest frame (number {frame.frame_no}) is {age * 1000:.0f} ms old, more than two "
            f"periods at {fps:g} Hz: the step must not act on it"
        )


class OpenCVCamera(ReaderCamera):
    """A V4L2 device by its number, or anything else `cv2.VideoCapture` opens."""

    def __init__(self, source: int | str, config: CameraConfig | None = None) -> None:
        super().__init__(config or CameraConfig())
        self._source = source
        self._capture: Any = None
        self._number = 0

    def _open(self) -> None:
        import cv2

        self._number = 0
        self._capture = cv2.VideoCapture(self._source)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(
                f"no camera at {self._source!r}: is it plugged in, and may this user read it (group `video`)?"
            )
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self.config.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self.config.height),
            (cv2.CAP_PROP_FPS, self.config.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            self._capture.set(key, value)  # a device may refuse; the first frame tells its true size

    def _grab(self) -> tuple[Frames, float, int]:
        import cv2

        good, bgr = self._capture.read()
        if not good:
            raise self._lost()
        self._number += 1
        milliseconds = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        t_device = milliseconds / 1000 if milliseconds > 0 else time.monotonic()
        return np.ascontiguousarray(bgr[..., ::-1]), t_device, self._number

    def _close(self) -> None:
        self._capture.release()


class RealSenseCamera(ReaderCamera):
    """An Intel RealSense's colour stream (extra `realsense`), by serial number; "" takes the only one there is."""

    def __init__(self, serial: str = "", config: CameraConfig | None = None) -> None:
        super().__init__(config or CameraConfig())
        self._serial = serial
        self._pipeline: Any = None

    def _open(self) -> None:
        try:
            import pyrealsense2 as realsense
        except ImportError as error:
            raise MissingDependencyError(
                f"pyrealsense2 cannot be imported ({error}): pip install 'wovr-workbench[realsense]'"
            ) from error
        settings = realsense.config()
        if self._serial:
            settings.enable_device(self._serial)
        width, height = self.config.width, self.config.height
        settings.enable_stream(realsense.stream.color, width, height, realsense.format.rgb8, int(self.config.fps))
        self._pipeline = realsense.pipeline()
        try:
            self._pipeline.start(settings)
        except RuntimeError as error:
            which = f"RealSense {self._serial}" if self._serial else "RealSense camera"
            raise CameraError(
                f"no {which} that streams {width}x{height} at {self.config.fps:g} Hz ({error}): check the USB 3 cable, "
                "the serial number (rs-enumerate-devices) and that nothing else holds it"
            ) from error

    def _grab(self) -> tuple[Frames, float, int]:
        color = self._pipeline.wait_for_frames(max(200, int(5000 / self.config.fps))).get_color_frame()
        if not color:
            raise self._lost()
        rgb = np.array(color.get_data(), dtype=np.uint8)  # a copy: the driver reuses its buffer
        return rgb, float(color.get_timestamp()) / 1000, int(color.get_frame_number())

    def _close(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was unplugged
            self._pipeline.stop()


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
