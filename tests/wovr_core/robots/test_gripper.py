"""What a gripper may be asked, in the client and again in the safety process: nothing else goes to the arm."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest

from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import GripperError
from wovr_core.robots.gripper import ThreadedGripper
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.safety import wire
from wovr_core.robots.safety.process import SafetyProcess

pytestmark = pytest.mark.robot
BEYOND = [
    ({"width": 0.081}, "width 0.081"),
    ({"width": math.nan}, "width nan"),
    ({"speed": 0.0}, "speed 0.0"),
    ({"force": 71.0}, "force 71.0"),
    ({"force": math.nan}, "force nan"),
]


@pytest.mark.parametrize(("what", "named"), BEYOND)
def test_a_client_is_refused_what_the_hand_cannot_do(what: dict[str, float], named: str) -> None:
    def never(*_: float) -> bool:
        raise AssertionError("passed on")

    asked: dict[str, Any] = {"width": 0.03} | what
    for gripper in (ThreadedGripper(never, never), GuardedRobot(ArmServerConfig(kind="kinematic")).gripper):
        with pytest.raises(GripperError, match=named):
            gripper.grasp(**asked)
        if "force" not in asked:
            with pytest.raises(GripperError, match=named):
                gripper.move(**asked)


@pytest.mark.parametrize(("what", "named"), BEYOND)
def test_the_safety_process_asks_for_itself_whatever_the_client_is(
    tmp_path: Path, what: dict[str, float], named: str
) -> None:
    arm, heard = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with arm, heard, wire.listen(tmp_path / "client") as listener:
        guard = SafetyProcess(listener, arm)
        asked = {"width": 0.03, "speed": 0.05, "force": 20.0} | what
        with pytest.raises(GripperError, match=named):
            guard._serve("grasp", {"id": 1, "args": [*asked.values(), 0.02, 0.08]}, now=0.0)
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.receive(heard)
        guard._serve("grasp", {"id": 2, "args": [0.03, 0.05, 20.0, 0.02, 0.08]}, now=0.0)
        assert wire.receive(heard)["args"] == [0.03, 0.05, 20.0, 0.02, 0.08]
