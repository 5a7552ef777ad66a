"""The Franka hand, and the conversions of franky's types that the driver shares with it."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from wovr_core.robots.base import GripperError, RobotMode, Vector

log = logging.getLogger(__name__)

POLL = 0.2
"""s between looks at the gripper: one costs 0.1 s, so they are taken beside the loop."""


class FrankaGripper:
    """Blocking calls, one at a time, and a thread that keeps `width` and `is_grasped` fresh in between."""

    def __init__(self, franky: Any, hostname: str) -> None:
        self._franky, self._hostname = franky, hostname
        self._gripper: Any = None
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.width, self.is_grasped = math.nan, False
        threading.Thread(target=self._poll, name="gripper-state", daemon=True).start()

    def close(self) -> None:
        """Let go of the connection; a call under way ends by itself first."""
        self._end.set()
        with self._lock:
            self._gripper = None

    def call(self, command: Callable[[Any], Any]) -> bool:
        """Run one command of franky's Gripper. Raises GripperError."""
        with self._lock:
            gripper = self._open()
            try:
                done = bool(command(gripper))
                self._look(gripper)
            except self._franky.Exception as error:
                raise GripperError(f"the gripper failed: {one_line(error)}") from error
            return done

    def _open(self) -> Any:
        """Under the lock."""
        if self._gripper is None:
            try:
                self._gripper = self._franky.Gripper(self._hostname)
            except self._franky.Exception as error:
                raise GripperError(f"no gripper answers at {self._hostname}: {one_line(error)}") from error
        return self._gripper

    def _look(self, gripper: Any) -> None:
        state = gripper.state
        self.width, self.is_grasped = float(state.width), bool(state.is_grasped)

    def _poll(self) -> None:
        while not self._end.wait(POLL):
            if not self._lock.acquire(blocking=False):
                continue  # it moves
            try:
                if self._end.is_set():
                    return
                self._look(self._open())
            except (GripperError, self._franky.Exception) as error:
                log.warning("gripper state unknown from here on: %s", error)
                self.width, self.is_grasped = math.nan, False
                return
            finally:
                self._lock.release()


def to_array(affine: Any) -> Vector:
    """A franky Affine as a pose (7,)."""
    return np.concatenate([np.ravel(affine.translation), np.ravel(affine.quaternion)]).astype(float)


def error_names(errors: Any) -> tuple[str, ...]:
    """The set flags of a libfranka Errors record."""
    return tuple(name for name in dir(errors) if not name.startswith("_") and getattr(errors, name) is True)


def robot_mode(franky: Any, mode: Any) -> RobotMode:
    """libfranka's mode as ours."""
    names = {
        franky.RobotMode.Idle: RobotMode.IDLE,
        franky.RobotMode.Move: RobotMode.MOVE,
        franky.RobotMode.Guiding: RobotMode.GUIDING,
        franky.RobotMode.Reflex: RobotMode.REFLEX,
        franky.RobotMode.UserStopped: RobotMode.USER_STOPPED,
        franky.RobotMode.AutomaticErrorRecovery: RobotMode.RECOVERY,
    }
    return names.get(mode, RobotMode.OTHER)


def one_line(error: Exception) -> str:
    """libfranka's messages span lines."""
    return " ".join(str(error).split())
