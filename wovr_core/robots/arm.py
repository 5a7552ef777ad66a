"""The bare arm, below the safety layer: what a driver or a simulator implements. Nobody else calls it.

`LocalRobot` puts the guard in front of an arm in this process, `GuardedRobot` in a process of its own.
"""

from __future__ import annotations

from typing import Protocol

from wovr_core.robots.base import Gains, Limits, RobotState, Vector


class Arm(Protocol):
    """No method checks a limit. Blocking ones may be ended by `stop` from another thread."""

    @property
    def name(self) -> str: ...

    def connect(self) -> None:
        """Raises ConnectionLostError, MissingDependencyError. Neither moves nor clears errors."""
        ...

    def disconnect(self) -> None: ...

    def read(self) -> RobotState:
        """At once. `t_host` is when the robot's own clock last moved: a dead link shows as an old state.

        Raises ConnectionLostError.
        """
        ...

    def start(self, gains: Gains, limits: Limits) -> None:
        """Start the tracking controller at the present pose. `limits` bound its own error clips and speed."""
        ...

    def set_target(self, pose: Vector) -> None:
        """(7,); at once. Without effect when the controller is not running."""
        ...

    def stop(self) -> None:
        """Bring the arm to rest and end control; at once or within a second; never raises for what ended before."""
        ...

    def move_joints(self, q: Vector) -> None:
        """Slowly to (7,) rad; blocks. Raises RobotError, ReflexError."""
        ...

    def move_pose(self, pose: Vector) -> None:
        """Slowly and straight to (7,); blocks. Raises RobotError, ReflexError."""
        ...

    def recover(self) -> None:
        """Clear a reflex. Raises ReflexError when that did not help."""
        ...

    def move_gripper(self, width: float, speed: float) -> bool:
        """Blocks. Raises GripperError."""
        ...

    def grasp(self, width: float, speed: float, force: float, eps_in: float, eps_out: float) -> bool:
        """Blocks. Raises GripperError."""
        ...
