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
from types import TracebackType
from typing import Protocol, Self

from wovr_core.robots.errors import (
    CameraError,
    ConnectionLostError,
    GripperError,
    NotAcknowledgedError,
    ReflexError,
    RobotError,
    SafetyStopError,
    StaleCameraError,
    WorkspaceError,
)
from wovr_core.robots.limits import (
    Clip,
    Gains,
    Limits,
)
from wovr_core.robots.state import (
    CameraFrame,
    Motion,
    RobotMode,
    RobotState,
    SentAction,
    Vector,
)

__all__ = [
    "CameraError",
    "CameraFrame",
    "CameraProtocol",
    "Clip",
    "Clock",
    "ConnectionLostError",
    "Gains",
    "GripperError",
    "GripperProtocol",
    "Limits",
    "Motion",
    "NotAcknowledgedError",
    "ReflexError",
    "Robot",
    "RobotError",
    "RobotMode",
    "RobotState",
    "SafetyStopError",
    "SentAction",
    "StaleCameraError",
    "Vector",
    "WorkspaceError",
]


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
