"""A simulated arm without dynamics, for tests that must be fast and exact."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wovr_core.robots import kinematics
from wovr_core.robots.base import (
    Clock,
    ConnectionLostError,
    Gains,
    Limits,
    ReflexError,
    RobotError,
    RobotMode,
    RobotState,
    Vector,
)
from wovr_core.robots.clock import WallClock
from wovr_core.robots.safety.limiter import conjugate, from_rotation_vector, multiply, normalised, rotation_vector


@dataclass(frozen=True)
class KinematicConfig:
    """How the simulated arm follows its target: a first-order lag with a bound on speed, no dynamics."""

    time_constant: float = 0.1
    """s"""
    top_speed: float = 0.5
    """m/s"""
    top_rotation_speed: float = 2.0
    """rad/s"""
    reset_speed: float = 1.0
    """rad/s of the fastest joint in `move_joints`."""
    integration_step: float = 0.005
    """s"""
    object_width: float = 0.0
    """m of what is between the fingers; 0: nothing, so no grasp succeeds."""


class KinematicArm:
    """An `Arm` that is a point with an orientation; its joints follow by inverse kinematics.

    Time passes only as the clock says. Faults are switched on by `reflex`, `press_stop`, `push`, `displace`,
    `freeze` and `unplug`.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        config: KinematicConfig | None = None,
        q: Sequence[float] = kinematics.HOME,
    ) -> None:
        self._clock = clock or WallClock()
        self._config = config or KinematicConfig()
        self._lock = threading.RLock()
        self._q = np.array(q, dtype=float)
        self._pose = kinematics.forward(self._q)
        self._target: Vector | None = None
        self._twist, self._dq = np.zeros(6), np.zeros(7)
        self._time = self._frozen_at = self._clock.now()
        self._frozen = self._unplugged = self._connected = False
        self._width = self._wanted_width = 0.08
        self._finger_speed = 0.05
        self._grasped = False
        self._wrench = np.zeros(6)
        self._errors: tuple[str, ...] = ()
        self._last_errors: tuple[str, ...] = ()
        self._seq = 0
        self._user_stopped = False
        self._moving = threading.Event()

    @property
    def name(self) -> str:
        return "simulated"

    # Faults

    def reflex(self, error: str = "cartesian_reflex") -> None:
        """The arm stops itself, as a real one does at a collision."""
        with self._lock:
            self._advance()
            self._errors = self._last_errors = (error,)
            self._target = None
            self._twist, self._dq = np.zeros(6), np.zeros(7)

    def press_stop(self, pressed: bool = True) -> None:
        """The hardware stop: the arm stands, and says so, until it is released."""
        with self._lock:
            self._advance()
            self._user_stopped = pressed
            self._target = None
            self._twist, self._dq = np.zeros(6), np.zeros(7)

    def push(self, wrench: Sequence[float]) -> None:
        """An external force from now on: (6,) N, N*m."""
        self._wrench = np.array(wrench, dtype=float)

    def displace(self, offset: Sequence[float]) -> None:
        """Somebody moves the arm by (3,) m at once."""
        with self._lock:
            self._advance()
            self._pose[:3] += offset
            self._follow_joints(0.0)

    def freeze(self, frozen: bool = True) -> None:
        """The link goes silent: states are repeated with their old time."""
        self._frozen, self._frozen_at = frozen, self._clock.now()

    def unplug(self) -> None:
        """The link is gone: every call raises ConnectionLostError."""
        self._unplugged = True

    # Arm

    def connect(self) -> None:
        self._check_link()
        self._connected = True

    def disconnect(self) -> None:
        self._connected, self._target = False, None

    def read(self) -> RobotState:
        self._check_link()
        if not self._connected:
            raise ConnectionLostError("the simulated arm is not connected: connect() first")
        with self._lock:
            self._advance()
            self._seq += 1
            now = self._frozen_at if self._frozen else self._time
            running = self._target is not None
            mode = RobotMode.MOVE if running else RobotMode.IDLE
            mode = RobotMode.USER_STOPPED if self._user_stopped else RobotMode.REFLEX if self._errors else mode
            return RobotState(
                t_robot=now,
                t_host=now,
                seq=self._seq,
                q=self._q.copy(),
                dq=self._dq.copy(),
                tau_J=np.zeros(7),
                tau_ext=kinematics.jacobian(self._q).T @ self._wrench,
                tcp_pose=self._pose.copy(),
                tcp_twist=self._twist.copy(),
                wrench_ext=self._wrench.copy(),
                gripper_width=self._width,
                is_grasped=self._grasped,
                mode=mode,
                errors=self._errors,
                last_motion_errors=self._last_errors,
                cmd_success_rate=1.0 if running else math.nan,
            )

    def start(self, gains: Gains, limits: Limits) -> None:
        self._check_link()
        with self._lock:
            if self._errors:
                raise ReflexError(f"the simulated arm is in reflex ({self._errors[0]}): recover first")
            self._advance()
            self._target = self._pose.copy()

    def set_target(self, pose: Vector) -> None:
        self._check_link()
        with self._lock:
            self._advance()
            if self._target is not None:
                self._target = np.array(pose, dtype=float)

    def stop(self) -> None:
        with self._lock:
            self._advance()
            self._target = None
            self._twist, self._dq = np.zeros(6), np.zeros(7)
            self._moving.set()

    def move_joints(self, q: Vector) -> None:
        self._check_link()
        self._moving.clear()
        start, distance = self._q.copy(), float(np.abs(q - self._q).max())
        steps = max(1, math.ceil(distance / self._config.reset_speed / 0.02))
        for step in range(1, steps + 1):
            if self._moving.is_set():
                raise RobotError("the motion was stopped before its end")
            self._clock.sleep(0.02)
            with self._lock:
                self._advance()
                self._q = start + (q - start) * (step / steps)
                self._pose = kinematics.forward(self._q)

    def move_pose(self, pose: Vector) -> None:
        self.move_joints(kinematics.solve(pose, self._q))

    def recover(self) -> None:
        self._check_link()
        self._errors = ()

    def move_gripper(self, width: float, speed: float) -> bool:
        self._check_link()
        with self._lock:
            self._advance()
            self._wanted_width, self._finger_speed, self._grasped = width, speed, False
        return True

    def grasp(self, width: float, speed: float, force: float, eps_in: float, eps_out: float) -> bool:
        self._check_link()
        with self._lock:
            self._advance()
            stop_at = max(width, self._config.object_width)
            self._wanted_width, self._finger_speed = stop_at, speed
            self._grasped = self._config.object_width > 0 and width - eps_in <= stop_at <= width + eps_out
            return self._grasped

    # Inside

    def _check_link(self) -> None:
        if self._unplugged:
            raise ConnectionLostError("the simulated arm's link is unplugged")

    def _advance(self) -> None:
        """Integrate up to the clock."""
        now = self._clock.now()
        left, self._time = max(0.0, now - self._time), now
        if left == 0.0:
            return
        fingers = np.clip(self._wanted_width - self._width, -self._finger_speed * left, self._finger_speed * left)
        self._width += float(fingers)
        if self._target is None:
            return
        config = self._config
        elapsed = min(left, 10 * config.time_constant + 2.0)  # by then it stands
        steps = math.ceil(elapsed / config.integration_step)
        dt = elapsed / steps
        for _ in range(steps):
            velocity = _bounded((self._target[:3] - self._pose[:3]) / config.time_constant, config.top_speed)
            turn = rotation_vector(multiply(self._target[3:], conjugate(self._pose[3:])))
            spin = _bounded(turn / config.time_constant, config.top_rotation_speed)
            self._pose[:3] += velocity * dt
            self._pose[3:] = normalised(multiply(from_rotation_vector(spin * dt), self._pose[3:]))
            self._twist = np.concatenate([velocity, spin])
        self._follow_joints(elapsed)

    def _follow_joints(self, elapsed: float) -> None:
        try:
            q = kinematics.solve(self._pose, self._q, iterations=20)
        except RobotError:
            return  # out of reach: the joints stay, the tool's pose is what counts here
        self._dq = (q - self._q) / elapsed if elapsed > 0 else np.zeros(7)
        self._q = q


def _bounded(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector * (longest / length) if length > longest else vector
