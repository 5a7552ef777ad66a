"""The arm's process by itself: a safety process that says little, and an arm that stops without being told."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

import pytest

from wovr_core.robots.arm_server import ArmServer, ArmServerConfig
from wovr_core.robots.base import Gains, Limits, Motion
from wovr_core.robots.clock import WallClock
from wovr_core.robots.kinematic_arm import KinematicArm
from wovr_core.robots.safety import wire

pytestmark = [pytest.mark.robot, pytest.mark.fault]
DEAF = ArmServerConfig(kind="kinematic", hold_after=20.0, stop_after=30.0)
"""Its watchdog is not what ends anything here."""


@pytest.fixture
def served():
    """The arm, and the socket that its safety process would have."""
    guard, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    guard.settimeout(20)
    arm = KinematicArm(WallClock())
    arm.connect()
    thread = threading.Thread(target=ArmServer(arm, ours, DEAF).run, daemon=True)
    thread.start()
    yield arm, guard
    guard.close()
    thread.join(timeout=20)
    assert not thread.is_alive()


def hear(guard, wanted, timeout=20.0):
    """The first message for which `wanted` holds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        message = wire.receive(guard)
        if wanted(message):
            return message
    raise AssertionError("no such message")


def test_an_arm_in_reflex_is_given_up_without_waiting_for_the_safety_process(served):
    arm, guard = served
    limits, gains = (dataclasses.asdict(settings) for settings in (Limits(), Gains()))
    wire.send(guard, {"kind": "call", "id": 1, "name": "start", "gains": gains, "limits": limits})
    assert "error" not in hear(guard, lambda m: m["kind"] == "done")
    pose = arm.read().tcp_pose.tolist()
    wire.send(guard, {"kind": "beat", "motion": Motion.RUNNING.value, "moving": False, "target": pose})
    hear(guard, lambda m: m["kind"] == "state" and m["controlled"])
    arm.reflex()
    first = hear(guard, lambda m: m["kind"] == "state" and m["state"]["errors"])
    assert not first["controlled"]  # from the very state on that says so
    # A target that was on its way is not passed on any more.
    passed = []
    arm.set_target = passed.append
    wire.send(
        guard, {"kind": "beat", "motion": Motion.RUNNING.value, "moving": False, "target": [*pose[:2], 0.4, *pose[3:]]}
    )
    for _ in range(5):
        assert not hear(guard, lambda m: m["kind"] == "state")["controlled"]
    assert passed == []
