"""What every robot offers: state, small delta commands, a gripper, cameras; and what may go wrong.

Units everywhere: metres, radians, seconds, newtons, newton metres. Poses are (7,) x y z qx qy qz qw in the
robot's base frame, quaternions of length 1. Host times are `time.monotonic()`, which all processes of one
machine share.

    with franka_robot("172.16.0.2") as robot:
        robot.start()
        while ...:
            robot.dead_man(True)
            sent = robot.send_delta(dpos, drotvec, seq, time.monotonic())

Nothing but the arm's hardware stop is safety-rated (docs/robot/safety.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.types import Frames

Vector = npt.NDArray[np.float64]


class RobotError(WovrError):
    """The robot cannot do what was asked; the message says what to do about it."""


class ConnectionLostError(RobotError):
    """The robot, or the process between it and us, no longer answers."""


class ReflexError(RobotError):
    """The arm stopped itself (mode reflex). A person must look, then `recover(operator_ack=True)`.

    A trial in which it happened ends as "safety abort"; it is never retried inside the trial.
    """


class SafetyStopError(RobotError):
    """The safety layer stopped the arm: `reason` is one of `Clip`. `start()` is needed to go on."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[SafetyStopError], tuple[str, str]]:
        return type(self), (str(self), self.reason)


class NotAcknowledgedError(RobotError):
    """Something that only a person may allow was asked for without that person's acknowledgement."""


class WorkspaceError(RobotError):
    """The arm is outside of the workspace box, or was asked to go there as a whole."""


class GripperError(RobotError):
    """The gripper failed or is busy."""


class CameraError(RobotError):
    """A camera cannot be opened or was unplugged."""


class StaleCameraError(CameraError):
    """A camera's newest frame is older than two of its periods: the step that needed it fails."""


class RobotMode(StrEnum):
    """What the arm's own controller says (libfranka's modes)."""

    OTHER = "other"
    IDLE = "idle"
    MOVE = "move"
    GUIDING = "guiding"
    REFLEX = "reflex"
    USER_STOPPED = "user_stopped"
    RECOVERY = "automatic_error_recovery"


class Motion(StrEnum):
    """What our safety layer lets the arm do."""

    STOPPED = "stopped"
    """No controller is running: the arm is on its brakes or its own hold. `start()` leads out."""
    RUNNING = "running"
    """Commands are followed."""
    HOLDING = "holding"
    """The controller keeps the arm where it was; a fresh command under a pressed dead-man key goes on."""


class Clip(StrEnum):
    """Why a command was changed or refused: the entries of `SentAction.clipped_by`."""

    NOT_FINITE = "not_finite"
    """NaN, infinite or beyond all sense: refused."""
    STEP_TRANSLATION = "step_translation"
    STEP_ROTATION = "step_rotation"
    SPEED = "speed"
    ROTATION_SPEED = "rotation_speed"
    WORKSPACE = "workspace"
    ERROR_TRANSLATION = "error_translation"
    """The target was kept near the measured pose."""
    ERROR_ROTATION = "error_rotation"
    STALE = "stale"
    """Older than three periods when it arrived, or none arrived for that long."""
    OUT_OF_ORDER = "out_of_order"
    """Its sequence number is not above the last one's: refused."""
    DEAD_MAN = "dead_man"
    """The operator's key is not pressed."""
    LEASE = "lease"
    """The sender does not hold the lease, or it ran out."""
    FORCE = "force"
    TORQUE = "torque"
    REFLEX = "reflex"
    NOT_RUNNING = "not_running"
    """`start()` was not called, or the arm was stopped since."""
    STATE = "state"
    """The robot's measured state is missing, old or not finite."""
    OPERATOR = "operator"
    """Somebody called `hold()` or `stop()`."""


@dataclass(frozen=True)
class Limits:
    """What no command may exceed. One instance goes with `start()` and is recorded with each episode."""

    rate: float = 20.0
    """Hz, of commands: one period is 1 / rate. 10 to 20 is what the tracker is made for."""
    workspace_low: tuple[float, float, float] = (0.25, -0.45, 0.01)
    workspace_high: tuple[float, float, float] = (0.75, 0.45, 0.75)
    """m, corners of the box that the tool centre point stays in."""
    max_step: float = 0.02
    """m a command."""
    max_rotation_step: float = 0.1
    """rad a command."""
    max_speed: float = 0.25
    """m/s."""
    max_rotation_speed: float = 1.0
    """rad/s."""
    error_clip: float = 0.02
    """m, of the target from the measured pose."""
    rotation_error_clip: float = 0.2
    """rad."""
    max_force: float = 40.0
    """N, norm of the external force at the tool centre point: above it the arm stops."""
    max_torque: tuple[float, float, float, float, float, float, float] = (40.0, 40.0, 36.0, 36.0, 16.0, 12.0, 12.0)
    """N*m, external torque of each joint: above it the arm stops."""
    stale_periods: float = 3.0
    """A command older than this many periods is refused; none for this long -> hold."""
    stop_after: float = 1.0
    """s without what is needed to move (commands, dead-man key) -> stop."""
    dead_man_required: bool = True
    dead_man_timeout: float = 0.5
    """s that one `dead_man(True)` counts."""
    lease: float = 2.0
    """s that a client keeps the arm without a sign of life."""
    state_timeout: float = 0.1
    """s after which a measured state is too old to move by."""
    min_success_rate: float = 0.9
    """Control command success rate under which the preflight and the runner warn."""

    @property
    def period(self) -> float:
        """s."""
        return 1.0 / self.rate

    @property
    def stale_after(self) -> float:
        """s."""
        return self.stale_periods * self.period


@dataclass(frozen=True)
class Gains:
    """Of the Cartesian impedance controller. Damping is critical: 2 sqrt(stiffness).

    Stiff, since the error clip that bounds the speed bounds the force as well: soft gains stall on friction.
    """

    translational: float = 2000.0
    """N/m."""
    rotational: float = 150.0
    """N*m/rad."""


@dataclass(frozen=True)
class RobotState:
    """One measured state."""

    t_robot: float
    """s, the robot's clock."""
    t_host: float
    """s, `time.monotonic()` when it was received."""
    seq: int
    """Counts states since connect."""
    q: Vector
    """(7,) rad."""
    dq: Vector
    """(7,) rad/s."""
    tau_J: Vector
    """(7,) N*m, measured."""
    tau_ext: Vector
    """(7,) N*m, estimated external."""
    tcp_pose: Vector
    """(7,) m and quaternion xyzw, base frame."""
    tcp_twist: Vector
    """(6,) m/s, rad/s, base frame."""
    wrench_ext: Vector
    """(6,) N, N*m, base frame."""
    gripper_width: float
    """m; NaN while unknown."""
    is_grasped: bool
    mode: RobotMode
    errors: tuple[str, ...]
    """Of the arm, at present."""
    last_motion_errors: tuple[str, ...]
    """What ended the last motion."""
    cmd_success_rate: float
    """Share of the last 100 control commands that arrived in time, in [0, 1]; NaN outside of motions."""
    motion: Motion = Motion.STOPPED
    """Of our safety layer."""
    stop_reason: str = ""
    """Why `motion` is not running, one of `Clip`; empty while it is."""

    @property
    def position(self) -> Vector:
        """(3,) m, of the tool centre point."""
        return self.tcp_pose[:3]

    @property
    def quaternion(self) -> Vector:
        """(4,) xyzw."""
        return self.tcp_pose[3:]

    @property
    def speed(self) -> float:
        """m/s, of the tool centre point."""
        return float(np.linalg.norm(self.tcp_twist[:3]))


@dataclass(frozen=True)
class SentAction:
    """What really went to the arm for one command, after all limits."""

    pose: Vector
    """(7,), the target in force after the command (the held pose where it was refused)."""
    clipped_by: tuple[str, ...]
    """Names of `Clip` in the order in which they took effect; empty: sent as asked."""
    delta: Vector
    """(6,) m, rad (rotation vector): how far the target moved, zero where the command was refused."""
    seq: int
    """Of the command."""
    t_applied: float
    """s, `time.monotonic()`."""
    motion: Motion
    """After the command: not `RUNNING` means that it was refused."""

    @property
    def refused(self) -> bool:
        """Whether nothing of the command was carried out."""
        return self.motion is not Motion.RUNNING or (not np.any(self.delta) and bool(self.clipped_by))


@dataclass(frozen=True)
class CameraFrame:
    """One picture with its times."""

    rgb: Frames
    """(H, W, 3) u8."""
    t_device: float
    """s, the camera's clock (the host's where it has none)."""
    t_host: float
    """s, `time.monotonic()` at arrival."""
    frame_no: int
    """Counts up by one a frame: a gap is a lost frame."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> float:
        """s, monotonic."""
        ...

    def sleep(self, seconds: float) -> None: ...


class GripperProtocol(Protocol):
    """Moves in a thread of its own: a call returns at once, its future says whether it worked."""

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        """Open or close to `width` (m) at `speed` (m/s). The future raises GripperError."""
        ...

    def grasp(
        self, width: float, speed: float = 0.05, force: float = 20.0, eps_in: float = 0.02, eps_out: float = 0.08
    ) -> Future[bool]:
        """Close at `speed` (m/s) with `force` (N); true if what is held is within -eps_in, +eps_out of `width` (m)."""
        ...


class CameraProtocol(Protocol):
    """A camera with a reader thread; `read` never waits for longer than one frame needs."""

    @property
    def name(self) -> str: ...

    @property
    def fps(self) -> float:
        """Hz, nominal: staleness is counted in its periods."""
        ...

    def connect(self) -> None:
        """Raises CameraError (no such device), MissingDependencyError."""
        ...

    def disconnect(self) -> None: ...

    def read(self) -> CameraFrame:
        """The newest frame. Raises StaleCameraError (older than two periods), CameraError (unplugged)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Robot(Protocol):
    """An arm behind the safety layer. As a context manager it connects, and stops and disconnects at the end."""

    @property
    def name(self) -> str:
        """Recorded with episodes: "franka", "simulated", "franky-sim"."""
        ...

    @property
    def limits(self) -> Limits:
        """In force (those of the last `start`)."""
        ...

    @property
    def gripper(self) -> GripperProtocol: ...

    def connect(self) -> None:
        """Raises ConnectionLostError, MissingDependencyError. Never clears errors, never moves."""
        ...

    def disconnect(self) -> None:
        """Stops what moves, then lets go. Calling it twice is fine."""
        ...

    def reset(self, q: Sequence[float] | None = None, pose: Sequence[float] | None = None) -> None:
        """Go slowly to joint positions (7,) rad, or to a pose (7,); blocks; the arm is stopped afterwards.

        Raises ReflexError, SafetyStopError, WorkspaceError, RobotError (exactly one of q and pose is needed).
        """
        ...

    def get_state(self) -> RobotState:
        """The newest state. Raises ConnectionLostError."""
        ...

    def start(self, gains: Gains | None = None, limits: Limits | None = None) -> None:
        """Begin to follow commands from the present pose, with these (or the default) gains and limits.

        Raises ReflexError, WorkspaceError (the arm is outside of the box), RobotError.
        """
        ...

    def stop(self) -> None:
        """End control: the arm comes to rest. Always allowed."""
        ...

    def hold(self) -> None:
        """Stay here; the next fresh command goes on."""
        ...

    def recover(self, operator_ack: bool = False) -> None:
        """Clear a reflex, after a person looked. Raises NotAcknowledgedError unless operator_ack is True."""
        ...

    def dead_man(self, pressed: bool) -> None:
        """The operator's key: each True counts for `limits.dead_man_timeout`; False, or silence, holds the arm."""
        ...

    def send_delta(self, dpos: Sequence[float], drotvec: Sequence[float], seq: int, t_sent: float) -> SentAction:
        """Move the *target* by dpos (3,) m and the rotation vector drotvec (3,) rad, both along the base axes.

        Deltas add to the last target, not to the measured pose, so that they do not sag; the error clip keeps
        the two together. Never blocks for longer than a period; a refused command is an answer, not an error.
        Raises ReflexError (the arm stopped itself), SafetyStopError (the safety layer did, for force, torque
        or lost contact), ConnectionLostError.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
