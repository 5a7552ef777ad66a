"""The guard's clocks and reasons, through the simulated robot on a clock that stands still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wovr_core.robots import kinematics
from wovr_core.robots.base import (
    Clip,
    ConnectionLostError,
    Limits,
    Motion,
    NotAcknowledgedError,
    ReflexError,
    RobotError,
    SafetyStopError,
    WorkspaceError,
)
from wovr_core.robots.kinematic_arm import KinematicConfig
from wovr_core.robots.safety.guard import Guard
from wovr_core.robots.simulated import SimulatedRobot

pytestmark = pytest.mark.robot
STILL = (0.0, 0.0, 0.0)


@pytest.fixture
def robot():
    with SimulatedRobot() as robot:
        yield robot


def drive(robot, steps, dpos=(0.005, 0.0, 0.0), first=0, press=True):
    sent = None
    for step in range(steps):
        if press:
            robot.dead_man(True)
        sent = robot.send_delta(dpos, STILL, first + step, robot.clock.now())
        robot.clock.sleep(0.05)
    return sent


def test_commands_move_the_arm_and_only_within_the_box(robot):
    robot.start()
    before = robot.get_state().position
    sent = drive(robot, 20)
    assert sent.clipped_by == ()
    robot.clock.sleep(0.1)
    np.testing.assert_allclose(robot.get_state().position - before, [0.1, 0, 0], atol=0.004)
    drive(robot, 120, first=20)
    assert robot.get_state().position[0] <= robot.limits.workspace_high[0]


def test_silence_holds_after_three_periods_and_stops_after_one_second(robot):
    robot.start()
    drive(robot, 5)
    robot.clock.sleep(0.09)  # 0.14 s since the last command
    assert robot.get_state().motion is Motion.RUNNING
    robot.clock.sleep(0.02)
    state = robot.get_state()
    assert (state.motion, state.stop_reason) == (Motion.HOLDING, Clip.STALE)
    held = robot.get_state().position
    robot.clock.sleep(0.5)
    np.testing.assert_allclose(robot.get_state().position, held, atol=1e-3)
    assert drive(robot, 1, first=5).motion is Motion.RUNNING  # fresh commands go on
    robot.clock.sleep(0.16)
    robot.get_state()
    robot.dead_man(True)
    robot.clock.sleep(0.4)
    robot.dead_man(True)
    robot.clock.sleep(0.45)
    state = robot.get_state()
    assert (state.motion, state.stop_reason) == (Motion.STOPPED, Clip.STALE)
    refused = robot.send_delta((0.01, 0, 0), STILL, 99, robot.clock.now())
    assert refused.clipped_by == (Clip.NOT_RUNNING, Clip.STALE)
    assert refused.refused


@pytest.mark.parametrize(
    ("limits", "state_age", "key_for", "reason", "lapse"),
    [
        (Limits(), 0.0, 1.0, Clip.STATE, 0.1),
        (Limits(), 0.04, 1.0, Clip.STATE, 0.06),
        (Limits(state_timeout=0.9), 0.0, 1.0, Clip.STALE, 0.15),
        (Limits(state_timeout=0.9, stale_periods=8), 0.0, 0.3, Clip.DEAD_MAN, 0.3),
        (Limits(state_timeout=0.9, stale_periods=8, dead_man_required=False), 0.0, 0.3, Clip.STALE, 0.4),
    ],
)
def test_a_lapse_is_known_to_the_moment(robot, limits, state_age, key_for, reason, lapse):
    """So that the safety process wakes for it, in place of finding it at its next heartbeat."""
    state, now = robot.get_state(), 1000.0
    guard = Guard()
    guard.see(replace(state, t_host=now - state_age), now)
    assert guard.next_lapse() == np.inf
    guard.start(replace(limits, dead_man_timeout=key_for), now)
    assert guard.next_lapse() == np.inf  # it waits for a command, which may take as long as the lease
    guard.dead_man(True, now)
    assert guard.command((0.001, 0, 0), STILL, 0, now, now).motion is Motion.RUNNING
    assert guard.next_lapse() == pytest.approx(now + lapse)
    assert guard.tick(guard.next_lapse() - 1e-6) is Motion.RUNNING
    assert guard.tick(guard.next_lapse() + 1e-6) is Motion.HOLDING
    assert guard.reason is reason
    assert guard.next_lapse() == np.inf


def test_letting_go_of_the_key_holds_at_once_and_stops_after_one_second(robot):
    robot.start()
    drive(robot, 5)
    robot.dead_man(False)
    assert robot.get_state().motion is Motion.HOLDING
    for step in range(15):
        sent = robot.send_delta((0.005, 0, 0), STILL, 10 + step, robot.clock.now())
        assert sent.clipped_by == (Clip.DEAD_MAN,)
        robot.clock.sleep(0.05)
    robot.clock.sleep(0.3)
    state = robot.get_state()
    assert (state.motion, state.stop_reason) == (Motion.STOPPED, Clip.DEAD_MAN)


def test_a_key_that_is_no_longer_renewed_counts_as_released(robot):
    robot.start()
    drive(robot, 2)
    sent = drive(robot, 12, first=2, press=False)
    assert sent.motion is Motion.HOLDING
    assert sent.clipped_by == (Clip.DEAD_MAN,)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (((np.nan, 0, 0), STILL), Clip.NOT_FINITE),
        (((0, 0, 0), (0, np.inf, 0)), Clip.NOT_FINITE),
        (((0, 0, 50.0), STILL), Clip.NOT_FINITE),
        (((0, 0), STILL), Clip.NOT_FINITE),
    ],
)
def test_what_is_no_command_is_refused(robot, command, reason):
    robot.start()
    drive(robot, 1)
    before = robot.send_delta(STILL, STILL, 1, robot.clock.now()).pose
    sent = robot.send_delta(*command, 2, robot.clock.now())
    assert sent.clipped_by == (reason,)
    np.testing.assert_array_equal(sent.pose, before)
    np.testing.assert_array_equal(sent.delta, np.zeros(6))


def test_endless_nonsense_is_as_good_as_silence(robot):
    robot.start()
    drive(robot, 2)
    drive(robot, 4, dpos=(np.nan, 0, 0), first=2)
    assert robot.get_state().motion is Motion.HOLDING


def test_old_and_reordered_commands_are_refused(robot):
    robot.start()
    drive(robot, 3)
    now = robot.clock.now()
    assert robot.send_delta((0.005, 0, 0), STILL, 2, now).clipped_by == (Clip.OUT_OF_ORDER,)
    assert robot.send_delta((0.005, 0, 0), STILL, 3, now - 0.2).clipped_by == (Clip.STALE,)
    assert robot.send_delta((0.005, 0, 0), STILL, 3, now + 10).clipped_by == (Clip.STALE,)
    assert robot.send_delta((0.005, 0, 0), STILL, 3, float("nan")).clipped_by == (Clip.STALE,)
    assert robot.send_delta((0.005, 0, 0), STILL, 3, now - 0.1).clipped_by == ()


def test_a_burst_of_commands_does_not_outrun_the_speed_limit(robot):
    robot.start()
    robot.dead_man(True)
    first = robot.send_delta((0.02, 0, 0), STILL, 0, robot.clock.now())
    for step in range(1, 50):
        last = robot.send_delta((0.02, 0, 0), STILL, step, robot.clock.now())
    assert np.linalg.norm(first.delta) <= 0.0125 + 1e-9
    np.testing.assert_allclose(last.pose, first.pose, atol=1e-9)
    assert Clip.SPEED in last.clipped_by


def test_a_reflex_ends_the_trial_until_a_person_acknowledges(robot):
    robot.start()
    drive(robot, 3)
    robot.kinematic.reflex()
    with pytest.raises(ReflexError, match="cartesian_reflex"):
        drive(robot, 1, first=3)
    with pytest.raises(ReflexError):
        robot.start()
    for wrong in (False, "yes", 1):
        with pytest.raises(NotAcknowledgedError):
            robot.recover(operator_ack=wrong)
    robot.recover(operator_ack=True)
    robot.start()
    assert drive(robot, 1).motion is Motion.RUNNING


def test_the_hardware_stop_is_the_operators_word(robot):
    robot.start()
    drive(robot, 3)
    robot.kinematic.press_stop()
    sent = drive(robot, 1, first=3)
    assert sent.clipped_by == (Clip.NOT_RUNNING, Clip.OPERATOR)
    with pytest.raises(RobotError, match="user_stopped"):
        robot.start()
    robot.kinematic.press_stop(False)
    robot.start()
    assert drive(robot, 1).motion is Motion.RUNNING


def test_a_pushed_arm_is_not_fought(robot):
    robot.start()
    drive(robot, 3, dpos=STILL)
    robot.kinematic.displace([0.0, 0.025, 0.0])
    for step in range(30):
        sent = drive(robot, 1, dpos=STILL, first=3 + step)
        error = np.linalg.norm(sent.pose[:3] - robot.get_state().position)
        assert error <= 0.025 + 1e-9
    assert error <= robot.limits.error_clip + 1e-6


def test_force_and_torque_stop(robot):
    robot.start()
    drive(robot, 3)
    robot.kinematic.push([0, 0, 45, 0, 0, 0])
    with pytest.raises(SafetyStopError) as caught:
        drive(robot, 1, first=3)
    assert caught.value.reason == Clip.FORCE
    robot.kinematic.push(np.zeros(6))
    robot.start()
    robot.kinematic.push([0, 0, 0, 0, 0, 39])  # under max_force, but not under joint 7's torque
    with pytest.raises(SafetyStopError) as caught:
        drive(robot, 1)
    assert caught.value.reason == Clip.TORQUE


def test_an_arm_that_is_measured_too_fast_is_stopped(robot):
    """What bounds the target does not bound an arm whose controller is starved: it overshoots."""
    robot.start()
    drive(robot, 3, dpos=STILL)
    robot.kinematic.displace([0.0, 0.05, 0.0])  # it is pulled back at 0.5 m/s
    robot.clock.sleep(0.01)
    with pytest.raises(SafetyStopError, match="faster than max_speed") as caught:
        drive(robot, 1, first=3)
    assert caught.value.reason == Clip.OVERSPEED
    assert robot.get_state().motion is Motion.STOPPED
    robot.clock.sleep(1.0)
    assert robot.get_state().speed < 0.01
    robot.start(limits=Limits(overspeed=3.0))
    robot.kinematic.displace([0.0, -0.05, 0.0])
    assert drive(robot, 3).motion is Motion.RUNNING


def test_a_silent_link_holds_then_stops(robot):
    robot.start()
    drive(robot, 3)
    robot.kinematic.freeze()
    sent = drive(robot, 4, first=3)
    assert sent.motion is Motion.HOLDING
    assert Clip.STATE in sent.clipped_by
    with pytest.raises(SafetyStopError) as caught:
        drive(robot, 20, first=7)
    assert caught.value.reason == Clip.STATE


def test_an_unplugged_link_is_an_error(robot):
    robot.start()
    robot.kinematic.unplug()
    with pytest.raises(ConnectionLostError):
        robot.get_state()


def test_hold_waits_without_a_deadline_but_not_beyond_the_lease(robot):
    robot.start()
    drive(robot, 3)
    robot.hold()
    for _ in range(40):
        robot.clock.sleep(0.05)
        robot.dead_man(False)  # a sign of life
        assert robot.get_state().motion is Motion.HOLDING
    robot.clock.sleep(robot.limits.lease + 0.1)
    state = robot.get_state()
    assert (state.motion, state.stop_reason) == (Motion.STOPPED, Clip.LEASE)


def test_it_starts_only_inside_of_the_box(robot):
    with pytest.raises(WorkspaceError, match="outside of the workspace box"):
        robot.start(limits=Limits(workspace_low=(0.4, -0.1, 0.1)))
    with pytest.raises(RobotError, match="positive and finite"):
        robot.start(limits=Limits(max_speed=float("nan")))
    with pytest.raises(RobotError, match="not a box"):
        robot.start(limits=Limits(workspace_low=(0.8, -0.45, 0.0)))


def test_reset_needs_the_key_and_a_goal_in_the_box(robot):
    robot.dead_man(True)
    with pytest.raises(WorkspaceError):
        robot.reset(pose=[1.2, 0, 0.3, 1, 0, 0, 0])
    with pytest.raises(RobotError, match="exactly one"):
        robot.reset()
    with pytest.raises(RobotError, match="joint limits"):
        robot.reset(q=np.zeros(7))
    goal = np.array([0.5, 0.1, 0.3, 1, 0, 0, 0])
    robot.reset(pose=goal)
    np.testing.assert_allclose(robot.get_state().tcp_pose[:3], goal[:3], atol=2e-4)
    robot.dead_man(False)
    with pytest.raises(SafetyStopError) as caught:
        robot.reset(q=kinematics.HOME)
    assert caught.value.reason == Clip.DEAD_MAN


def test_the_arm_obeys_a_declared_limit_of_the_operator(robot):
    robot.start(limits=Limits(max_speed=0.02, dead_man_required=False))
    sent = drive(robot, 10, press=False)
    assert np.linalg.norm(sent.delta[:3]) <= 0.02 * 0.05 + 1e-9


def test_the_gripper_answers_by_futures_and_takes_time():
    with SimulatedRobot(config=KinematicConfig(object_width=0.03)) as robot:
        assert robot.gripper.move(0.05, speed=0.05).result(5) is True
        robot.clock.sleep(0.3)
        assert robot.get_state().gripper_width == pytest.approx(0.065)
        robot.clock.sleep(1.0)
        assert robot.get_state().gripper_width == pytest.approx(0.05)
        assert robot.gripper.grasp(0.03).result(5) is True
        robot.clock.sleep(2.0)
        assert robot.get_state().gripper_width == pytest.approx(0.03)
        with pytest.raises(RobotError, match="not in"):
            robot.gripper.move(0.2)


def test_kinematics_round_trip_and_known_pose():
    # The tool of a Franka at its ready position, by its URDF: x 0.307, z 0.487, pointing down.
    np.testing.assert_allclose(kinematics.forward(kinematics.HOME)[:3], [0.3069, 0, 0.4869], atol=1e-4)
    rng = np.random.default_rng(0)
    for _ in range(5):
        q = np.array(kinematics.HOME) + rng.uniform(-0.3, 0.3, 7)
        pose = kinematics.forward(q)
        found = kinematics.forward(kinematics.solve(pose, kinematics.HOME))
        np.testing.assert_allclose(found[:3], pose[:3], atol=2e-4)
    h = 1e-6
    numeric = (kinematics.forward(q + np.eye(7)[3] * h)[:3] - kinematics.forward(q - np.eye(7)[3] * h)[:3]) / (2 * h)
    np.testing.assert_allclose(kinematics.jacobian(q)[:3, 3], numeric, atol=1e-6)
