"""The real driver over the real wire protocol, against simulators."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from wovr_core.errors import MissingDependencyError
from wovr_core.robots import kinematics, simulated
from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import (
    Clip,
    Gains,
    Limits,
    Motion,
    NotAcknowledgedError,
    ReflexError,
    RobotError,
    RobotMode,
    SafetyStopError,
)
from wovr_core.robots.franka import FrankaArm, FrankaConfig, tracker_clips
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.preflight import Status, check_control, check_driver, check_server, observe_stream
from wovr_core.robots.simulated import FRANKY_SIM_LIMITS, FrankaSim, FrankySim, franka_sim_python

pytestmark = pytest.mark.robot
FRANKA_SIM = franka_sim_python()  # before the tests' own WOVR_HOME
PATIENT = Limits(
    max_torque=FRANKY_SIM_LIMITS.max_torque,
    state_timeout=1.0,
    dead_man_timeout=2.0,
    stale_periods=20,
    stop_after=5.0,
    lease=20.0,
)
"""Nothing lapses on a busy machine; what bounds the motion stays."""


@pytest.fixture(scope="module")
def hostname():
    pytest.importorskip("franky")
    with FrankySim() as simulator:
        yield simulator.hostname


def config(hostname, **changes):
    return ArmServerConfig(hostname=hostname, realtime=False, hold_after=2.0, stop_after=4.0, **changes)


def drive(robot, steps, delta, first=0):
    for seq in range(first, first + steps):
        robot.dead_man(True)
        sent = robot.send_delta(delta(seq)[:3], delta(seq)[3:], seq, time.monotonic())
        time.sleep(robot.limits.period)
    return sent


def test_a_session_and_its_peak_speed(hostname, tmp_path):
    record = tmp_path / "flight.txt"
    with GuardedRobot(config(hostname, record=str(record)), PATIENT) as robot:
        state = robot.get_state()
        assert (state.mode, state.errors) == (RobotMode.IDLE, ())
        np.testing.assert_allclose(state.position, kinematics.forward(state.q)[:3], atol=1e-4)  # ours against theirs

        robot.start()
        # As unfriendly as it gets: full throttle, all axes, turning round now and then.
        rng = np.random.default_rng(0)
        directions = rng.choice([-1.0, 1.0], size=(8, 6))
        # On a machine too busy for the 1 kHz exchange this simulator obeys old torques, where an arm would stop by
        # itself: its tool overshoots, and the guard must be what ends that.
        ended = None
        try:
            drive(robot, 80, lambda seq: directions[seq // 10] * ([0.05] * 3 + [0.3] * 3))
        except SafetyStopError as stop:
            ended = stop.reason
        rows = np.array([line.split()[2:] for line in record.read_text().splitlines()], dtype=float)
        positions, speeds = rows[:, :3], rows[:, 3]
        assert speeds.max() > 0.03, "it moved"
        assert ended in (None, Clip.OVERSPEED)
        assert ended or speeds.max() < PATIENT.max_speed
        margin = PATIENT.error_clip + 0.005
        assert (positions > np.array(PATIENT.workspace_low) - margin).all()
        assert (positions < np.array(PATIENT.workspace_high) + margin).all()

        robot.hold()  # means nothing to an arm that is stopped
        deadline = time.monotonic() + 30
        while robot.get_state().speed >= 0.01:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert robot.gripper.move(0.03).result(30) is True
        deadline = time.monotonic() + 20
        while abs(robot.get_state().gripper_width - 0.03) > 2e-3:
            assert time.monotonic() < deadline
            time.sleep(0.05)

        robot.stop()
        assert robot.get_state().motion is Motion.STOPPED
        robot.start()  # and again: nothing was left behind
        drive(robot, 3, lambda seq: [0.0, 0.0, 0.01, 0.0, 0.0, 0.0])
        robot.stop()


def test_preflight_speaks_to_the_server(hostname):
    stream = observe_stream(hostname, seconds=0.5)
    assert stream.server_version == 10
    assert stream.received > 20
    assert stream.lost >= 0
    assert check_driver().status is Status.PASS
    assert check_server(stream).status is Status.PASS
    with GuardedRobot(config(hostname, gripper=False), PATIENT) as robot:
        check = check_control(robot, PATIENT, seconds=0.5)
    assert check.status in (Status.PASS, Status.WARN)
    assert 0 <= check.numbers["success_rate"] <= 1


@pytest.mark.slow
def test_resets_go_where_they_should_and_end_when_stopped(hostname):
    pytest.importorskip("franky")
    arm = FrankaArm(FrankaConfig(hostname, realtime=False, reset_dynamics=0.3, gripper=False))
    arm.connect()
    try:
        arm.move_joints(np.array(kinematics.HOME))
        np.testing.assert_allclose(arm.read().q, kinematics.HOME, atol=0.05)  # the simulator's own sag
        goal = kinematics.forward(kinematics.HOME)
        goal[:3] += [0.05, 0.05, -0.05]
        arm.move_pose(goal)
        np.testing.assert_allclose(arm.read().position, goal[:3], atol=0.03)
    finally:
        arm.disconnect()


def test_the_clips_of_the_tracker_bound_its_speed():
    limits = Limits(max_speed=0.1)
    gains = Gains(translational=2500.0, rotational=100.0)
    translation, _ = tracker_clips(gains, limits)
    # Terminal speed of K e = D v with D = 2 sqrt(K), the error clipped on each axis.
    error = np.sqrt(3) * translation
    assert gains.translational * error / (2 * np.sqrt(gains.translational)) == pytest.approx(0.1)
    assert tracker_clips(Gains(translational=1.0), limits)[0] == pytest.approx(0.02 / np.sqrt(3))


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "franky", None)
    with pytest.raises(MissingDependencyError, match=r"wovr-workbench\[robot\]"):
        FrankaArm(FrankaConfig("127.0.0.1")).connect()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.skipif(FRANKA_SIM is None, reason="franka-sim's environment is missing: run tools/franka_sim_env.sh")
def test_a_reflex_waits_for_a_person(monkeypatch):
    """franka-sim enforces the communication constraints, as the arm does."""
    pytest.importorskip("franky")
    monkeypatch.setattr(simulated, "franka_sim_python", lambda: FRANKA_SIM)
    with FrankaSim() as simulator, GuardedRobot(config(simulator.hostname, gripper=False), PATIENT) as robot:
        robot.start()
        drive(robot, 10, lambda seq: [0.0, 0.005, 0.0, 0.0, 0.0, 0.0])
        os.kill(robot.arm_process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(robot.arm_process.pid, signal.SIGCONT)
        with pytest.raises((ReflexError, SafetyStopError)):
            drive(robot, 60, lambda seq: [0.0, 0.005, 0.0, 0.0, 0.0, 0.0], first=10)
        state = robot.get_state()
        assert state.motion is Motion.STOPPED
        assert any("communication_constraints_violation" in error for error in state.errors)
        with pytest.raises((ReflexError, RobotError)):
            robot.start()  # nobody looked
        with pytest.raises(NotAcknowledgedError):
            robot.recover()
        robot.recover(operator_ack=True)
        robot.start()
        assert drive(robot, 5, lambda seq: [0.0, -0.005, 0.0, 0.0, 0.0, 0.0]).motion is Motion.RUNNING
