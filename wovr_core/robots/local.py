"""A robot whose guard runs in this process: for simulators and tests.

On a real arm use `GuardedRobot`, whose guard survives this process; `LocalRobot` stops the arm when commands
stop, but not when Python does.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from wovr_core.robots.arm import Arm
from wovr_core.robots.base import (
    Clip,
    Clock,
    Gains,
    Limits,
    Motion,
    NotAcknowledgedError,
    RobotError,
    RobotMode,
    RobotState,
    SafetyStopError,
    SentAction,
)
from wovr_core.robots.clock import WallClock
from wovr_core.robots.gripper import ThreadedGripper
from wovr_core.robots.kinematics import check_reset_goal
from wovr_core.robots.safety.guard import Guard, hard_stop_error, reflex_error

WATCHDOG_PERIOD = 0.02


class LocalRobot:
    """`Robot` over an `Arm`, with the guard in front and, on a wall clock, a watchdog thread beside."""

    def __init__(self, arm: Arm, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self._arm = arm
        self._clock = clock or WallClock()
        self._guard = Guard(limits)
        self._lock = threading.RLock()
        self._connected = self._controlled = False
        self._followed = Motion.STOPPED
        self._end = threading.Event()
        self._watchdog: threading.Thread | None = None
        self._gripper = ThreadedGripper(arm.move_gripper, arm.grasp)

    @property
    def name(self) -> str:
        return self._arm.name

    @property
    def limits(self) -> Limits:
        return self._guard.limits

    @property
    def gripper(self) -> ThreadedGripper:
        return self._gripper

    @property
    def arm(self) -> Arm:
        """The bare arm, for simulators whose faults a test injects."""
        return self._arm

    def connect(self) -> None:
        if self._connected:
            return
        self._arm.connect()
        self._connected = True
        self._end.clear()
        if isinstance(self._clock, WallClock):
            self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._watchdog.start()

    def disconnect(self) -> None:
        if not self._connected:
            return
        self._end.set()
        if self._watchdog is not None:
            self._watchdog.join(timeout=5)
            self._watchdog = None
        try:
            self.stop()
        finally:
            self._connected = False
            self._gripper.close()
            self._arm.disconnect()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def get_state(self) -> RobotState:
        with self._lock:
            return self._observe()

    def start(self, gains: Gains | None = None, limits: Limits | None = None) -> None:
        with self._lock:
            self._observe()
            limits = limits or self._guard.limits
            self._guard.start(limits, self._clock.now())
            self._arm.start(gains or Gains(), limits)
            self._controlled, self._followed = True, Motion.HOLDING
            self._arm.set_target(self._guard.target)

    def stop(self) -> None:
        with self._lock:
            self._guard.stop(Clip.OPERATOR)
            self._follow()

    def hold(self) -> None:
        with self._lock:
            self._guard.hold(self._clock.now())
            self._follow()

    def dead_man(self, pressed: bool) -> None:
        with self._lock:
            now = self._clock.now()
            self._guard.alive(now)
            self._guard.dead_man(pressed, now)
            self._follow()

    def recover(self, operator_ack: bool = False) -> None:
        if operator_ack is not True:
            raise NotAcknowledgedError("a reflex is cleared only after a person looked: recover(operator_ack=True)")
        self.stop()
        self._arm.recover()

    def reset(self, q: Sequence[float] | None = None, pose: Sequence[float] | None = None) -> None:
        goal = check_reset_goal(q, pose, self._guard.limits)
        with self._lock:
            self._guard.stop(Clip.OPERATOR)
            self._follow()
            state = self._observe()
            if state.mode is RobotMode.REFLEX or state.errors:
                raise reflex_error(state)
            if self.limits.dead_man_required and not self._guard.pressed(self._clock.now()):
                raise SafetyStopError("the arm may not move: the dead-man key is not pressed", Clip.DEAD_MAN)
        mover = threading.Thread(target=self._reset_watch, daemon=True, name="reset-watch")
        self._resetting = threading.Event()
        self._aborted: Clip | None = None
        if isinstance(self._clock, WallClock):
            mover.start()
        try:
            (self._arm.move_joints if pose is None else self._arm.move_pose)(goal)
        except RobotError as error:
            if self._aborted is not None:
                raise SafetyStopError(f"the reset was ended: {self._aborted.value}", self._aborted) from error
            raise
        finally:
            self._resetting.set()
        if self._aborted is not None:
            raise SafetyStopError(f"the reset was ended: {self._aborted.value}", self._aborted)

    def send_delta(self, dpos: Sequence[float], drotvec: Sequence[float], seq: int, t_sent: float) -> SentAction:
        with self._lock:
            self._observe()
            now = self._clock.now()
            self._guard.alive(now)
            sent = self._guard.command(dpos, drotvec, seq, t_sent, now)
            self._follow()
            if sent.motion is Motion.RUNNING:
                self._arm.set_target(sent.pose)
            error = hard_stop_error(self._guard.hard_stop, self._guard.state)
            if error is not None:
                raise error
            return sent

    # Inside

    def _observe(self) -> RobotState:
        state = self._arm.read()
        now = self._clock.now()
        self._guard.see(state, now)
        self._guard.tick(now)
        self._follow()
        reason = self._guard.reason
        return replace(state, motion=self._guard.motion, stop_reason=reason.value if reason else "")

    def _follow(self) -> None:
        """Make the arm do what the guard says."""
        motion = self._guard.motion
        if motion is Motion.STOPPED and self._controlled:
            self._controlled = False
            self._arm.stop()
        elif motion is Motion.HOLDING and self._followed is not Motion.HOLDING:
            self._arm.set_target(self._guard.target)
        self._followed = motion

    def _watch(self) -> None:
        while not self._end.wait(WATCHDOG_PERIOD):
            with self._lock:
                if not self._controlled:
                    continue
                try:
                    self._observe()
                except RobotError:
                    self._guard.stop(Clip.STATE)
                    self._follow()

    def _reset_watch(self) -> None:
        """A reset moves too: letting go of the key ends it."""
        while not self._resetting.wait(WATCHDOG_PERIOD):
            if self.limits.dead_man_required and not self._guard.pressed(self._clock.now()):
                self._aborted = Clip.DEAD_MAN
                self._arm.stop()
                return
