"""Cameras: RealSense and OpenCV devices here, recordings and simulations from `camera_sources`."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from wovr_core.errors import MissingDependencyError
from wovr_core.robots.base import CameraError
from wovr_core.robots.camera_base import CameraConfig, ReaderCamera, check_fresh
from wovr_core.robots.camera_sources import RecordedCamera, SimulatedCamera
from wovr_core.types import Frames

__all__ = [
    "CameraConfig",
    "OpenCVCamera",
    "ReaderCamera",
    "RealSenseCamera",
    "RecordedCamera",
    "SimulatedCamera",
    "check_fresh",
]


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
