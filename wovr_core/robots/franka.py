"""The Franka arm over franky-control (extra `robot`): a Cartesian impedance tracker, streamed at 10 to 20 Hz.

What the tracker does not do by itself (measured): it has no speed limit (`relative_dynamics_factor` bounds
planned motions only) and no watchdog (it pursues its last target for ever). Both are ours: the guard in front,
and error clips chosen so that its pull cannot exceed `max_speed`. Errors are never cleared before commands.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from wovr_core.errors import MissingDependencyError
from wovr_core.robots.base import (
    ConnectionLostError,
    Gains,
    GripperError,
    Limits,
    ReflexError,
    RobotError,
    RobotState,
    Vector,
)
from wovr_core.robots.franka_hand import FrankaGripper, error_names, one_line, robot_mode, to_array

log = logging.getLogger(__name__)

BRAKING, SLOW = 0.3, 0.01
"""s at most that a stop holds before control ends, and the speed (m/s) at which it ends at once."""
CONTROL_ENDED = "control_ended"
"""In `RobotState.errors`: the control loop ended without our asking (what it said follows the colon)."""


@dataclass(frozen=True)
class FrankaConfig:
    hostname: str
    """Of the arm's control box, or of a simulator's loopback address."""
    realtime: bool = True
    """Refuse to connect without a real-time kernel. Only simulators may do without."""
    reset_dynamics: float = 0.1
    """Share of the arm's own velocity, acceleration and jerk limits used by resets."""
    gripper: bool = True


def load_franky() -> ModuleType:
    """The driver, or MissingDependencyError naming the extra."""
    try:
        import franky
    except ImportError as error:
        raise MissingDependencyError(
            f"the Franka driver cannot be imported ({error}): pip install 'wovr-workbench[robot]'; "
            "for a robot server older than the wheel's, see `wovr robot check`"
        ) from error
    return franky


def tracker_clips(gains: Gains, limits: Limits) -> tuple[float, float]:
    """Error clips (m, rad) *per axis* that bound the tracker's pull.

    At critical damping D = 2 sqrt(K) a constant error e ends in the speed K e / D = sqrt(K) e / 2, so the
    error is clipped at 2 v / sqrt(K); per axis that is a further sqrt(3) less.
    """
    translation = min(limits.error_clip, 2 * limits.max_speed / math.sqrt(gains.translational))
    rotation = min(limits.rotation_error_clip, 2 * limits.max_rotation_speed / math.sqrt(gains.rotational))
    return translation / math.sqrt(3), rotation / math.sqrt(3)


class FrankaArm:
    """An `Arm`: one connection to one control box. Thread-safe as `Arm` asks: `stop` ends blocking moves."""

    def __init__(self, config: FrankaConfig) -> None:
        self._config = config
        self._franky: Any = None
        self._robot: Any = None
        self._gripper: FrankaGripper | None = None
        self._tracker: Any = None
        self._ended = ""
        self._seq = 0
        self._t_robot = self._t_host = -math.inf
        self._abort = threading.Event()
        self._blocking = False

    @property
    def name(self) -> str:
        return "franka"

    def connect(self) -> None:
        franky = self._franky = load_franky()
        realtime = franky.RealtimeConfig.Enforce if self._config.realtime else franky.RealtimeConfig.Ignore
        try:
            self._robot = franky.Robot(
                self._config.hostname,
                relative_dynamics_factor=self._config.reset_dynamics,
                realtime_config=realtime,
            )
        except franky.IncompatibleVersionException as error:
            raise RobotError(
                f"the robot's server and this libfranka do not fit ({error}): install the franky-control wheel for "
                "the server's version; `wovr robot check` names it"
            ) from error
        except franky.RealtimeException as error:
            raise RobotError(
                f"no real-time scheduling ({error}): boot a PREEMPT_RT kernel and join the group `realtime` "
                "(docs/robot/first_hour.md); only simulators may do without"
            ) from error
        except franky.Exception as error:
            raise ConnectionLostError(
                f"no robot answers at {self._config.hostname} ({error}): is it powered, unlocked, with FCI active, "
                "and the network cable in the control box?"
            ) from error
        if self._config.gripper:
            self._gripper = FrankaGripper(franky, self._config.hostname)

    def disconnect(self) -> None:
        if self._robot is not None:
            self.stop()
        if self._gripper is not None:
            self._gripper.close()
        self._robot = self._gripper = self._tracker = None

    def read(self) -> RobotState:
        robot = self._connected()
        try:
            state = robot.state
        except self._franky.Exception as error:
            raise ConnectionLostError(f"the robot at {self._config.hostname} no longer answers: {error}") from error
        t_robot = float(state.time.to_sec())
        if t_robot != self._t_robot:  # a state that is repeated does not become newer
            self._t_robot, self._t_host = t_robot, time.monotonic()
        self._seq += 1
        errors = error_names(state.current_errors)
        if self._tracker is not None and not robot.is_in_control:
            self._note_end()
        if self._ended:
            errors = (*errors, f"{CONTROL_ENDED}: {self._ended}")
        twist = state.O_dP_EE_est if state.O_dP_EE_est is not None else state.O_dP_EE_c
        running = self._tracker is not None
        return RobotState(
            t_robot=t_robot,
            t_host=self._t_host,
            seq=self._seq,
            q=np.array(state.q, dtype=float),
            dq=np.array(state.dq, dtype=float),
            tau_J=np.array(state.tau_J, dtype=float),
            tau_ext=np.array(state.tau_ext_hat_filtered, dtype=float),
            tcp_pose=to_array(state.O_T_EE),
            tcp_twist=np.concatenate([np.ravel(twist.linear), np.ravel(twist.angular)]).astype(float),
            wrench_ext=np.array(state.O_F_ext_hat_K, dtype=float),
            gripper_width=self._gripper.width if self._gripper else math.nan,
            is_grasped=self._gripper.is_grasped if self._gripper else False,
            mode=robot_mode(self._franky, state.robot_mode),
            errors=errors,
            last_motion_errors=error_names(state.last_motion_errors),
            cmd_success_rate=float(state.control_command_success_rate) if running else math.nan,
        )

    def start(self, gains: Gains, limits: Limits) -> None:
        robot = self._connected()
        if self._tracker is not None:
            self.stop()
        self._refuse_ended()
        translation, rotation = tracker_clips(gains, limits)
        try:
            self._tracker = self._franky.CartesianImpedanceTracker(
                robot,
                translational_stiffness=gains.translational,
                rotational_stiffness=gains.rotational,
                translational_error_clip=np.full(3, translation),
                rotational_error_clip=np.full(3, rotation),
            )
        except self._franky.Exception as error:
            raise self._control_error(error) from error

    def set_target(self, pose: Vector) -> None:
        if self._tracker is not None:
            self._tracker.set_target(self._affine(pose))

    def stop(self) -> None:
        self._abort.set()
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            return
        in_control = self._robot.is_in_control
        try:
            if in_control:
                self._brake(tracker)
            tracker.stop()
        except self._franky.Exception as error:
            if in_control:
                log.warning("the arm did not come to rest by itself: %s", error)
            if not self._ended:
                self._ended = one_line(error)

    def move_joints(self, q: Vector) -> None:
        self._move(self._franky.JointMotion(self._franky.JointState(np.asarray(q))))

    def move_pose(self, pose: Vector) -> None:
        self._move(self._franky.CartesianMotion(self._affine(pose)))

    def recover(self) -> None:
        robot = self._connected()
        try:
            done = robot.recover_from_errors()
        except self._franky.Exception as error:
            raise ReflexError(f"the arm did not recover: {one_line(error)}") from error
        if not done:
            raise ReflexError(f"the arm did not recover: {', '.join(error_names(robot.state.current_errors))}")
        self._ended = ""

    def move_gripper(self, width: float, speed: float) -> bool:
        return self._hand().call(lambda gripper: gripper.move(width, speed))

    def grasp(self, width: float, speed: float, force: float, eps_in: float, eps_out: float) -> bool:
        return self._hand().call(lambda gripper: gripper.grasp(width, speed, force, eps_in, eps_out))

    # Inside

    def _brake(self, tracker: Any) -> None:
        """Hold where the arm is until it is slow.

        Measured at 0.11 m/s: the stiff hold stands after 55 ms and 0.4 mm, the driver's own stop, which only
        damps, after 250 ms and 17 mm.
        """
        tracker.set_target(self._robot.state.O_T_EE)
        end = time.monotonic() + BRAKING
        while time.monotonic() < end and self._robot.is_in_control:
            time.sleep(0.005)
            twist = self._robot.state.O_dP_EE_est
            if twist is None or float(np.linalg.norm(twist.linear)) < SLOW:
                return

    def _connected(self) -> Any:
        if self._robot is None:
            raise ConnectionLostError(f"not connected to {self._config.hostname}: connect() first")
        return self._robot

    def _affine(self, pose: Vector) -> Any:
        return self._franky.Affine(np.asarray(pose[:3], dtype=float), np.asarray(pose[3:], dtype=float))

    def _move(self, motion: Any) -> None:
        robot = self._connected()
        if self._tracker is not None:
            self.stop()
        self._refuse_ended()
        self._abort.clear()
        try:
            robot.move(motion, asynchronous=True)
            while not robot.join_motion(timeout=0.02):
                if self._abort.is_set():
                    self._abort.clear()
                    robot.move(self._franky.JointStopMotion(), asynchronous=True)
                    robot.join_motion(timeout=5.0)
                    raise RobotError("the motion was stopped before its end")
        except self._franky.Exception as error:
            raise self._control_error(error) from error

    def _refuse_ended(self) -> None:
        if self._ended:
            raise ReflexError(f"the last motion ended by itself ({self._ended}): look, then recover")

    def _note_end(self) -> None:
        """The tracker's loop is gone though nobody stopped it: keep what it says."""
        self._tracker = None
        try:
            self._robot.join_motion(timeout=1.0)
            self._ended = "no reason given"
        except self._franky.Exception as error:
            self._ended = one_line(error)

    def _control_error(self, error: Exception) -> RobotError:
        if isinstance(error, self._franky.NetworkException):
            return ConnectionLostError(f"the robot at {self._config.hostname} no longer answers: {one_line(error)}")
        return ReflexError(f"the arm refused or ended the motion: {one_line(error)}")

    def _hand(self) -> FrankaGripper:
        if self._gripper is None:
            raise GripperError("no gripper is configured, or the robot is not connected")
        return self._gripper
