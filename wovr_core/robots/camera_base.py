"""What all cameras share: a reader thread that keeps the newest frame, and a staleness check.

The reader keeps the newest frame only. `read` hands it out, or fails: a frame older than two periods must not
be acted on, and a camera that was unplugged says so at the next step, not at the end of the trial.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from wovr_core.robots.base import CameraError, CameraFrame, StaleCameraError
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
