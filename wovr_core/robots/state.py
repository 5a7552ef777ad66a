"""What robots and cameras tell: measured states, what was really sent, pictures with their times.

Units: metres, radians, seconds, newtons, newton metres. Poses are (7,) x y z qx qy qz qw in the robot's base frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from wovr_core.types import Frames

Vector = npt.NDArray[np.float64]


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
