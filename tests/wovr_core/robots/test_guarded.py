"""The safety process and the arm's process around the simulated arm: what a client may do, and what not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import (
    Clip,
    ConnectionLostError,
    GripperError,
    Limits,
    Motion,
    NotAcknowledgedError,
    RobotError,
    SafetyStopError,
    WorkspaceError,
)
from wovr_core.robots.drills import alive
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.kinematics import HOME
from wovr_core.robots.safety import wire

pytestmark = [pytest.mark.robot, pytest.mark.fault]
PATIENT = Limits(state_timeout=1.0, dead_man_timeout=2.0, stale_periods=20, stop_after=5.0, lease=20.0)
"""Nothing lapses on a busy machine."""
KINEMATIC = ArmServerConfig(kind="kinematic", hold_after=2.0, stop_after=4.0)


@pytest.fixture
def robot():
    with GuardedRobot(KINEMATIC, PATIENT) as robot:
        yield robot


def wait_for(condition, timeout=30.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def until_lost(call, timeout=30.0):
    """The ConnectionLostError that `call` raises at last."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            call()
        except ConnectionLostError as error:
            return error
        time.sleep(0.02)
    raise AssertionError("the loss was not noticed")


def test_a_session_over_three_processes(robot):
    with pytest.raises(WorkspaceError):
        robot.start(limits=Limits(workspace_low=(0.5, -0.1, 0.1)))
    robot.start()
    assert robot.get_state().motion is Motion.HOLDING
    before = robot.get_state().position
    assert robot.send_delta((0.01, 0, 0), (0, 0, 0), 0, time.monotonic()).clipped_by == (Clip.DEAD_MAN,)
    for seq in range(1, 9):
        robot.dead_man(True)
        sent = robot.send_delta((0.005, 0, 0), (0, 0, 0.01), seq, time.monotonic())
        assert sent.motion is Motion.RUNNING
        time.sleep(0.05)
    wait_for(lambda: robot.get_state().position[0] - before[0] > 0.02)
    for nonsense in ((np.nan, 0, 0), (np.inf, 0, 0), (1e300, 0, 0)):
        seq += 1
        assert robot.send_delta(nonsense, (0, 0, 0), seq, time.monotonic()).clipped_by == (Clip.NOT_FINITE,)
    assert robot.send_delta((0, 0, 0), (0, 0, 0), 1, time.monotonic()).clipped_by == (Clip.OUT_OF_ORDER,)

    assert robot.gripper.move(0.03).result(20) is True
    wait_for(lambda: abs(robot.get_state().gripper_width - 0.03) < 1e-6)
    with pytest.raises(GripperError):
        robot.gripper.move(0.5)

    robot.stop()
    assert robot.get_state().motion is Motion.STOPPED
    assert Clip.NOT_RUNNING in robot.send_delta((0.01, 0, 0), (0, 0, 0), 99, time.monotonic()).clipped_by
    with pytest.raises(NotAcknowledgedError):
        robot.recover()
    with pytest.raises(NotAcknowledgedError):  # the safety process asks for itself, whatever the client is
        robot._ask("recover", operator_ack="yes")
    with pytest.raises(RobotError, match="unknown message 'fly'"):
        robot._ask("fly")

    robot.dead_man(True)
    robot.reset(q=HOME)
    np.testing.assert_allclose(robot.get_state().q, HOME, atol=1e-6)
    robot.dead_man(False)
    with pytest.raises(SafetyStopError) as caught:
        robot.reset(q=HOME)
    assert caught.value.reason == Clip.DEAD_MAN

    # Garbage on its socket does not end the guard, and a second client finds the robot taken.
    robot._peer.send(b"\x80\x04garbage")
    robot._peer.send(b"[1, 2]")
    other = wire.dial(robot._folder / "client")
    answer = wire.receive(other)
    assert "another client holds" in answer["error"]["message"]
    other.close()
    assert robot.get_state().motion is Motion.STOPPED


def test_letting_go_ends_a_reset_under_way(robot):
    robot.dead_man(True)  # counts for 2 s
    far = np.array(HOME)
    far[0] = 2.5
    wide = Limits(
        workspace_low=(-1, -1, 0), workspace_high=(1, 1, 1), state_timeout=1.0, dead_man_timeout=0.5, lease=20.0
    )
    robot._limits = wide
    with pytest.raises(RobotError, match="stopped before its end"):
        robot.reset(q=far)
    assert robot.get_state().q[0] < 2.4


def test_when_the_safety_process_dies_the_client_is_told_and_the_arm_process_ends(robot):
    robot.start()
    arm = robot.arm_process
    os.kill(robot.safety_process.pid, signal.SIGKILL)
    assert "arm process stops the arm" in str(until_lost(robot.get_state))
    assert arm.wait(timeout=30) == 0


def test_a_loss_that_is_noticed_twice_at_once_is_still_a_loss():
    robot = GuardedRobot(KINEMATIC, PATIENT)

    class Sending:
        """Meanwhile the listener finds the other side gone, and answers for all that wait."""

        def __enter__(self):
            robot._waiting.popitem()

        def __exit__(self, *_):
            pass

    robot._peer, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    robot._lock = Sending()
    other.close()
    with robot._peer, pytest.raises(ConnectionLostError, match="gone or hangs"):
        robot.stop()


def test_when_the_arm_process_dies_the_guard_says_so(robot):
    robot.start()
    os.kill(robot.arm_process.pid, signal.SIGKILL)
    assert "arm process is gone" in str(until_lost(lambda: robot.send_delta((0, 0, 0), (0, 0, 0), 0, 0.0)))
    with pytest.raises(ConnectionLostError):
        robot.start()


def test_disconnecting_leaves_nothing_behind():
    robot = GuardedRobot(KINEMATIC, PATIENT)
    robot.connect()
    pids, folder = (robot.arm_process.pid, robot.safety_process.pid), robot._folder
    assert folder.stat().st_mode & 0o077 == 0  # nobody else may connect
    robot.disconnect()
    robot.disconnect()
    assert not any(alive(pid) for pid in pids)
    assert not folder.exists()
    with pytest.raises(ConnectionLostError, match="connect"):
        robot.get_state()


def test_a_failing_driver_is_reported_in_words():
    robot = GuardedRobot(ArmServerConfig(kind="franka", hostname="127.0.0.1", realtime=False), PATIENT)
    pytest.importorskip("franky")
    with pytest.raises(RobotError, match="no robot answers at"):
        robot.connect()
    assert robot.arm_process is None
    with pytest.raises(RobotError, match="known: franka, kinematic"):
        GuardedRobot(ArmServerConfig(kind="panda")).connect()


def test_the_safety_process_is_small():
    """Standard library and numpy: what it does not import cannot fail in it."""
    code = (
        "import sys; before = set(sys.modules); import wovr_core.robots.safety.process; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(out) - set(sys.stdlib_module_names) == {"numpy", "wovr_core"}
    modules = ("base", "cameras", "drills", "franka", "guarded", "local", "preflight", "simulated")
    imports = "\n".join(f"import wovr_core.robots.{module}" for module in modules)
    code = f"import sys\n{imports}\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_states_survive_the_wire_and_errors_keep_their_type(robot):
    state = robot.get_state()
    again = wire.unpack_state(json.loads(json.dumps(wire.pack_state(state))))
    np.testing.assert_array_equal(again.tcp_pose, state.tcp_pose)
    assert (again.mode, again.motion, again.errors) == (state.mode, state.motion, state.errors)
    for error in (WorkspaceError("w"), ConnectionLostError("c"), SafetyStopError("s", Clip.FORCE)):
        back = wire.unpack_error(wire.pack_error(error))
        assert (type(back), str(back)) == (type(error), str(error))
    with pytest.raises(RobotError, match="not limits"):
        wire.unpack_limits({"max_speeed": 1.0})
    with pytest.raises(RobotError, match="stiffness"):
        wire.unpack_gains({"translational": float("nan")})
