"""The guard: what the arm is allowed to do, as a function of commands, measured states and the time.

A state machine without clock, thread or socket: every method is told what time it is. It runs in the safety
process (`process.py`), and in `LocalRobot` for tests and simulators.

    STOPPED --start--> HOLDING --command--> RUNNING --something lapsed--> HOLDING --for 1 s--> STOPPED

After `start` or `hold` it waits for a command for as long as the lease lives. Once commands flow, the lack of
a fresh one, or of the dead-man key, holds the arm, and after `stop_after` stops it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wovr_core.robots.base import (
    Clip,
    Limits,
    Motion,
    ReflexError,
    RobotError,
    RobotMode,
    RobotState,
    SafetyStopError,
    SentAction,
    Vector,
    WorkspaceError,
)
from wovr_core.robots.safety.limiter import in_box, into_box, limit, normalised

START_MARGIN = 0.005
"""m by which the arm may be outside of the box when it starts: the first target is put inside."""
HARD_REASONS = frozenset({Clip.FORCE, Clip.TORQUE, Clip.OVERSPEED, Clip.REFLEX, Clip.STATE})
"""Stops that a command answers with an error, since the trial is over."""
TAKEN_MODES = frozenset({RobotMode.USER_STOPPED, RobotMode.GUIDING, RobotMode.RECOVERY})
"""A person, or the arm's own controller, has the arm."""


class Guard:
    """Not thread-safe: its owner calls it from one thread, or under one lock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.motion = Motion.STOPPED
        self.reason: Clip | None = None
        """Why it is not running; None before the first start and while it waits for the first command."""
        self.target: Vector = np.full(7, np.nan)
        """(7,), what the arm's controller is to follow while not stopped."""
        self.state: RobotState | None = None
        self._flowing = False
        self._last_command = self._last_alive = 0.0
        self._last_seq = -1
        self._dead_man_until = -np.inf

    # What its owner tells it

    def start(self, limits: Limits, now: float) -> None:
        """STOPPED -> HOLDING at the measured pose. Raises ReflexError, WorkspaceError, RobotError."""
        check_limits(limits)
        state = self.state
        if state is None or now - state.t_host > limits.state_timeout or not _finite(state):
            raise RobotError("the robot's state is missing, old or not finite: nothing may move by it")
        if state.mode is RobotMode.REFLEX or state.errors:
            raise reflex_error(state)
        if state.mode in TAKEN_MODES:
            raise RobotError(f"the arm is in mode {state.mode.value}: release the stop or the guiding buttons first")
        if not in_box(state.position, limits, START_MARGIN):
            where = ", ".join(f"{v:.3f}" for v in state.position)
            raise WorkspaceError(
                f"the tool is at ({where}) m, outside of the workspace box {limits.workspace_low} to "
                f"{limits.workspace_high}: reset the arm, or set the box for this cell"
            )
        self.limits, self.motion, self.reason = limits, Motion.HOLDING, None
        self._hold_here()
        self._flowing, self._last_seq = False, -1
        self._last_alive = self._last_command = now

    def see(self, state: RobotState, now: float) -> None:
        """A measured state; what is wrong in it stops the arm at once."""
        if not _finite(state):
            self.stop(Clip.STATE)
            return
        self.state = state
        if state.mode is RobotMode.REFLEX or state.errors:
            self.stop(Clip.REFLEX)
            if self.reason is Clip.STATE:
                self.reason = Clip.REFLEX  # the silence before it was the reflex's own
        elif state.mode in TAKEN_MODES:
            self.stop(Clip.OPERATOR)
        elif float(np.linalg.norm(state.wrench_ext[:3])) > self.limits.max_force:
            self.stop(Clip.FORCE)
        elif (np.abs(state.tau_ext) > np.asarray(self.limits.max_torque)).any():
            self.stop(Clip.TORQUE)
        elif state.speed > self.limits.overspeed * self.limits.max_speed:
            self.stop(Clip.OVERSPEED)

    def dead_man(self, pressed: bool, now: float) -> None:
        if pressed:
            self._dead_man_until = now + self.limits.dead_man_timeout
        elif now < self._dead_man_until:
            self._dead_man_until = now
        self.tick(now)

    def pressed(self, now: float) -> bool:
        """Whether the dead-man key counts as pressed."""
        return now < self._dead_man_until

    def alive(self, now: float) -> None:
        """A sign of life of the client that holds the lease."""
        self._last_alive = now

    def hold(self, now: float) -> None:
        if self.motion is not Motion.STOPPED:
            self._flowing = False
            self._enter_hold(Clip.OPERATOR)

    def stop(self, reason: Clip = Clip.OPERATOR) -> None:
        """The first reason stays: what follows a stop is its consequence."""
        if self.motion is not Motion.STOPPED:
            self.motion, self.reason = Motion.STOPPED, reason

    def next_lapse(self) -> float:
        """When `tick` will hold the arm if nothing is heard until then; infinite unless it is running."""
        if self.motion is not Motion.RUNNING or self.state is None:
            return np.inf
        limits = self.limits
        lapses = [self.state.t_host + limits.state_timeout, self._last_command + limits.stale_after]
        return min(lapses + ([self._dead_man_until] if limits.dead_man_required else []))

    def tick(self, now: float) -> Motion:
        """Let time pass: lapses hold, then stop. To be called at 50 Hz or more, and at `next_lapse`."""
        if self.motion is Motion.STOPPED:
            return self.motion
        limits = self.limits
        age = now - self.state.t_host if self.state else np.inf
        if now - self._last_alive > limits.lease:
            self.stop(Clip.LEASE)
        elif age > limits.stop_after:
            self.stop(Clip.STATE)
        elif self._flowing and self._dead_man_lapse(now) > limits.stop_after:
            self.stop(Clip.DEAD_MAN)
        elif self._flowing and now - self._last_command > limits.stop_after:
            self.stop(Clip.STALE)
        elif self.motion is Motion.RUNNING:
            if age > limits.state_timeout:
                self._enter_hold(Clip.STATE)
            elif self._dead_man_lapse(now) >= 0:
                self._enter_hold(Clip.DEAD_MAN)
            elif now - self._last_command > limits.stale_after:
                self._enter_hold(Clip.STALE)
        return self.motion

    def command(
        self, dpos: Sequence[float] | Vector, drotvec: Sequence[float] | Vector, seq: int, t_sent: float, now: float
    ) -> SentAction:
        """One delta; see `Robot.send_delta`. Never raises: `hard_stop` tells whether its caller should."""
        self.tick(now)
        refusal = self._refusal(seq, t_sent, now)
        if refusal is None:
            command = np.concatenate([np.ravel(dpos), np.ravel(drotvec)]).astype(float)
            if command.shape != (6,):
                command = np.full(6, np.nan)
            assert self.state is not None
            dt = now - self._last_command if self._flowing else self.limits.period
            limited = limit(self.target[None], self.state.tcp_pose[None], command[None], np.array([dt]), self.limits)
            names = limited.names()
            if Clip.NOT_FINITE.value in names:
                refusal = (Clip.NOT_FINITE,)
        if refusal is not None:
            names = tuple(clip.value for clip in refusal)
            return SentAction(self.target.copy(), names, np.zeros(6), seq, now, self.motion)
        self.target = limited.target[0]
        self.motion, self.reason = Motion.RUNNING, None
        self._flowing, self._last_seq, self._last_command = True, seq, now
        return SentAction(self.target.copy(), names, limited.delta[0], seq, now, self.motion)

    @property
    def hard_stop(self) -> Clip | None:
        """The reason of a stop that ends a trial, or None."""
        return self.reason if self.motion is Motion.STOPPED and self.reason in HARD_REASONS else None

    # Inside

    def _refusal(self, seq: int, t_sent: float, now: float) -> tuple[Clip, ...] | None:
        limits = self.limits
        if self.motion is Motion.STOPPED:
            return (Clip.NOT_RUNNING, *((self.reason,) if self.reason else ()))
        if seq <= self._last_seq:
            return (Clip.OUT_OF_ORDER,)
        if not -limits.period <= now - t_sent <= limits.stale_after:  # a NaN is refused too
            return (Clip.STALE,)
        if limits.dead_man_required and now >= self._dead_man_until:
            return (Clip.DEAD_MAN,)
        if self.state is None or now - self.state.t_host > limits.state_timeout:
            return (Clip.STATE,)
        return None

    def _dead_man_lapse(self, now: float) -> float:
        """s since the key counted as released; negative while it is pressed or not needed."""
        return now - self._dead_man_until if self.limits.dead_man_required else -np.inf

    def _enter_hold(self, reason: Clip) -> None:
        if self.motion is Motion.RUNNING:
            self._hold_here()
        self.motion, self.reason = Motion.HOLDING, reason

    def _hold_here(self) -> None:
        """Target: the measured pose, so that nothing is left to be pursued."""
        if self.state is not None:
            position = into_box(self.state.position, self.limits)
            self.target = np.concatenate([position, normalised(self.state.quaternion)])


def check_limits(limits: Limits) -> None:
    """Raises RobotError for limits that are not limits (the rotation ball must stay convex, a box a box)."""
    values = [
        limits.rate,
        limits.max_step,
        limits.max_rotation_step,
        limits.max_speed,
        limits.max_rotation_speed,
        limits.error_clip,
        limits.rotation_error_clip,
        limits.overspeed,
        limits.max_force,
        limits.stale_periods,
        limits.stop_after,
        limits.dead_man_timeout,
        limits.lease,
        limits.state_timeout,
        *limits.max_torque,
    ]
    if not all(np.isfinite(value) and value > 0 for value in values):
        raise RobotError(f"limits must be positive and finite: {limits}")
    if limits.rotation_error_clip > 1.0:
        raise RobotError(f"rotation_error_clip must be at most 1 rad, not {limits.rotation_error_clip}")
    box = (*limits.workspace_low, *limits.workspace_high)
    if not all(np.isfinite(box)) or any(
        low >= high for low, high in zip(limits.workspace_low, limits.workspace_high, strict=True)
    ):
        raise RobotError(f"workspace {limits.workspace_low} to {limits.workspace_high} is not a box")


def reflex_error(state: RobotState) -> ReflexError:
    """Names the arm's own errors and the way on."""
    errors = ", ".join(state.errors or state.last_motion_errors) or "no error named"
    return ReflexError(
        f"the arm stopped itself (mode {state.mode.value}: {errors}): look at it, then recover with the "
        "operator's acknowledgement"
    )


def _finite(state: RobotState) -> bool:
    numbers = (state.tcp_pose, state.q, state.tau_ext, state.wrench_ext)
    return all(bool(np.isfinite(array).all()) for array in numbers)


def hard_stop_error(reason: Clip | None, state: RobotState | None) -> RobotError | None:
    """ReflexError or SafetyStopError if `reason` (see `Guard.hard_stop`) ends a trial."""
    if reason is None:
        return None
    if reason is Clip.REFLEX and state is not None:
        return reflex_error(state)
    why = {
        Clip.FORCE: "the external force is above max_force",
        Clip.TORQUE: "an external joint torque is above max_torque",
        Clip.OVERSPEED: "the tool is faster than max_speed allows (is the computer too busy to control it?)",
        Clip.STATE: "the robot's state is missing, old or not finite",
    }.get(reason, reason.value)
    return SafetyStopError(f"the safety layer stopped the arm: {why}; look at it, then start() again", reason)
