"""`wovr robot check`: what it finds on robots, networks, cameras and disks that are not as they should be."""

from __future__ import annotations

import socket
import struct
import threading

import numpy as np
import pytest

from wovr_core.robots import preflight
from wovr_core.robots.base import ConnectionLostError, Motion
from wovr_core.robots.camera_sources import SimulatedCamera
from wovr_core.robots.cameras import CameraConfig
from wovr_core.robots.preflight import (
    Status,
    Stream,
    check_camera,
    check_control,
    check_disk,
    check_network,
    check_server,
)
from wovr_core.robots.simulated import SimulatedRobot

pytestmark = pytest.mark.robot


class FakeRobot:
    """Answers one handshake with its version, then sends numbered packets."""

    def __init__(self, version, numbers):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.request = b""
        self.thread = threading.Thread(target=self.serve, args=(version, numbers), daemon=True)

    def serve(self, version, numbers):
        peer, address = self.listener.accept()
        self.request = peer.recv(64)
        port = struct.unpack_from("<H", self.request, 14)[0]
        peer.sendall(struct.pack("<III", 0, 1, 20) + struct.pack("<HH4x", 1, version))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states:
            for number in numbers:
                states.sendto(struct.pack("<Q", number) + bytes(100), (address[0], port))
        peer.recv(1)
        peer.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.thread.join(timeout=5)


def test_the_handshake_finds_the_version_and_counts_losses():
    numbers = [*range(100, 150), *range(153, 200)]  # three lost
    with FakeRobot(5, numbers) as robot:
        stream = preflight.observe_stream("127.0.0.1", seconds=0.5, port=robot.port)
        assert struct.unpack_from("<III", robot.request) == (0, 1, 16)
    assert (stream.server_version, stream.received, stream.lost) == (5, 97, 3)
    check = check_server(stream)
    assert check.status is Status.FAIL
    assert "by-robot-server-version/5/" in check.advice
    assert check_network(stream).status is Status.FAIL  # 3 % lost


def test_nobody_at_home_is_said_in_words():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionLostError, match="FCI active"):
        preflight.observe_stream("127.0.0.1", port=port)


@pytest.mark.parametrize(
    ("gaps", "status"),
    [
        (np.full(2000, 0.001), Status.PASS),
        (np.where(np.arange(2000) % 100 == 0, 0.005, 0.001), Status.WARN),
        (np.where(np.arange(2000) == 7, 0.05, 0.001), Status.FAIL),
        (np.full(2000, 0.004), Status.FAIL),
        (np.zeros(0), Status.FAIL),
    ],
)
def test_jitter_is_judged(gaps, status):
    received = len(gaps) + 1 if len(gaps) else 0
    check = check_network(Stream(10, received, 0, gaps))
    assert check.status is status
    assert bool(check.advice) == (status is not Status.PASS)


def test_kernel_and_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.platform, "version", lambda: "#1 SMP PREEMPT_RT")
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda which: (99, 99))
    assert preflight.check_kernel().status is Status.PASS
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda which: (0, 0))
    assert "rtprio" in preflight.check_kernel().advice
    usage = type("usage", (), {"free": 1e9})
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)
    check = check_disk(tmp_path / "not" / "yet")
    assert (check.status, check.numbers["free_gb"]) == (Status.FAIL, 1.0)


def test_the_arm_is_stopped_whatever_ends_the_check_of_control(monkeypatch):
    with SimulatedRobot() as robot:
        states = iter([robot.get_state()])

        def look():
            for state in states:
                return state
            raise ConnectionLostError("the cable is out")

        monkeypatch.setattr(robot, "get_state", look)
        check = check_control(robot, robot.limits, seconds=1.0)
        assert (check.status, check.found) == (Status.FAIL, "the cable is out")
        monkeypatch.undo()
        assert robot.get_state().motion is Motion.STOPPED


def test_a_camera_that_hangs_fails_the_check():
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    good = SimulatedCamera(lambda: picture, CameraConfig(fps=2.0))
    assert check_camera(good, seconds=1.2).status is Status.PASS
    bad = SimulatedCamera(lambda: picture, CameraConfig(fps=20.0))
    bad.freeze()
    check = check_camera(bad, seconds=0.5)
    assert check.status is Status.FAIL
    assert "old" in check.found
