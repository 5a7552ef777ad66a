"""Cameras: order, times, staleness, and what happens when the cable is pulled."""

from __future__ import annotations

import sys
import time
import types

import numpy as np
import pytest

from wovr_core.errors import MissingDependencyError
from wovr_core.robots.base import CameraError, CameraFrame, StaleCameraError
from wovr_core.robots.camera_sources import RecordedCamera, SimulatedCamera
from wovr_core.robots.cameras import (
    CameraConfig,
    OpenCVCamera,
    RealSenseCamera,
    check_fresh,
)
from wovr_core.robots.clock import ManualClock

pytestmark = pytest.mark.robot


def numbered(count, height=48, width=64):
    """Frames whose brightness is their number."""
    return np.stack([np.full((height, width, 3), 5 * index, dtype=np.uint8) for index in range(count)])


def until_error(camera, kind, timeout=20.0):
    """What `read` raises at last, of this kind (a busy machine may be late with a frame before)."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            camera.read()
        except StaleCameraError as error:
            if kind is StaleCameraError:
                return error
        except CameraError as error:
            assert kind is CameraError
            return error
        time.sleep(0.005)
    raise AssertionError("no error came")


def test_a_recording_plays_in_order_and_ends_as_an_unplugged_camera():
    frames = numbered(10)
    seen = []
    with RecordedCamera(frames, CameraConfig(fps=50.0)) as camera:
        ended = None
        while ended is None:
            try:
                seen.append(camera.read())
            except StaleCameraError:  # a busy machine
                continue
            except CameraError as error:
                ended = error
            time.sleep(0.002)
    assert "ended after 10 frames" in str(ended)
    numbers = [frame.frame_no for frame in seen]
    assert numbers == sorted(numbers)
    for frame in seen:
        np.testing.assert_array_equal(frame.rgb, frames[frame.frame_no - 1])
        assert frame.t_device == pytest.approx((frame.frame_no - 1) / 50)


def test_a_camera_that_hangs_is_stale_after_two_periods():
    frame = CameraFrame(numbered(1)[0], 0.0, 100.0, 7)
    check_fresh("front", frame, 100.0 + 1.99 / 30, fps=30)
    with pytest.raises(StaleCameraError, match=r"number 7.*67 ms old"):
        check_fresh("front", frame, 100.0 + 2.01 / 30, fps=30)


def test_a_simulated_camera_keeps_the_clock_and_its_faults_are_typed():
    clock = ManualClock()
    pictures = iter(numbered(50))
    camera = SimulatedCamera(lambda: next(pictures), CameraConfig(fps=20.0), clock)
    with pytest.raises(CameraError, match="not connected"):
        camera.read()
    with camera:
        first = camera.read()
        assert camera.read() is first  # the same instant, the same frame
        clock.sleep(0.05)
        second = camera.read()
        assert (second.frame_no, second.t_host - first.t_host) == (2, pytest.approx(0.05))
        camera.freeze()
        clock.sleep(0.09)
        assert camera.read().frame_no == 2
        clock.sleep(0.02)
        with pytest.raises(StaleCameraError):
            camera.read()
        camera.freeze(False)
        assert camera.read().frame_no > 2
        camera.unplug()
        with pytest.raises(CameraError, match="plugged in"):
            camera.read()


def test_an_opencv_source_delivers_rgb_and_tells_when_it_is_gone(tmp_path):
    import cv2

    path = tmp_path / "device.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (64, 48))
    blue_bgr = np.zeros((48, 64, 3), dtype=np.uint8)
    blue_bgr[..., 0] = 250
    for _ in range(5):
        writer.write(blue_bgr)
    writer.release()

    camera = OpenCVCamera(str(path), CameraConfig(name="wrist", width=64, height=48, fps=0.1))
    taken = []
    grab = camera._grab
    camera._grab = lambda: taken.append(grab()) or taken[-1]
    with camera:
        assert "wrist no longer delivers" in str(until_error(camera, CameraError))
    assert [number for _, _, number in taken] == [1, 2, 3, 4, 5]
    assert taken[0][0][..., 2].mean() > 200 > 60 > taken[0][0][..., 0].mean()
    with pytest.raises(CameraError, match="no camera at"):
        OpenCVCamera(str(tmp_path / "nothing.avi")).connect()


def test_a_realsense_is_asked_for_rgb_and_its_loss_is_typed(monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyrealsense2", None)
        with pytest.raises(MissingDependencyError, match=r"wovr-workbench\[realsense\]"):
            RealSenseCamera().connect()

    asked = {}

    class Frame:
        def get_data(self):
            return numbered(2)[1]

        def get_timestamp(self):
            return 1500.0

        def get_frame_number(self):
            return 42

    class Pipeline:
        frames = 3

        def start(self, settings):
            if settings.serial == "missing":
                raise RuntimeError("No device connected")

        def wait_for_frames(self, timeout):
            type(self).frames -= 1
            if type(self).frames < 0:
                raise RuntimeError("Frame didn't arrive within 200")
            return types.SimpleNamespace(get_color_frame=Frame)

        def stop(self):
            raise RuntimeError("stop() cannot be called before start()")

    class Settings:
        serial = ""

        def enable_device(self, serial):
            self.serial = serial

        def enable_stream(self, *arguments):
            asked["stream"] = arguments

    fake = types.SimpleNamespace(
        config=Settings,
        pipeline=Pipeline,
        stream=types.SimpleNamespace(color="color"),
        format=types.SimpleNamespace(rgb8="rgb8"),
    )
    monkeypatch.setitem(sys.modules, "pyrealsense2", fake)
    with RealSenseCamera("123", CameraConfig(fps=0.2)) as camera:
        assert "didn't arrive" in str(until_error(camera, CameraError))
        assert camera._frame.frame_no == 42
        assert camera._frame.t_device == 1.5
        np.testing.assert_array_equal(camera._frame.rgb, numbered(2)[1])
    assert asked["stream"] == ("color", 640, 480, "rgb8", 0)
    with pytest.raises(CameraError, match="no RealSense missing"):
        RealSenseCamera("missing").connect()


def test_a_video_file_plays(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "episode.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in numbered(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with RecordedCamera(path, CameraConfig(fps=0.5), loop=True) as camera:
        assert camera.read().rgb.shape == (48, 64, 3)
    (tmp_path / "text.mp4").write_text("not a video")
    with RecordedCamera(tmp_path / "text.mp4", CameraConfig(fps=1)) as camera:
        assert "not a video" in str(until_error(camera, CameraError))
    with pytest.raises(CameraError, match="no recording"):
        RecordedCamera(tmp_path / "none.mp4").connect()
