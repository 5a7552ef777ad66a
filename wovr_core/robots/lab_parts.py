"""Clock, gripper and camera of the simulated lab (`lab`)."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wovr_core.robots.base import CameraError, CameraFrame, GripperError
from wovr_core.robots.trial import PatientClock
from wovr_core.types import Frames

if TYPE_CHECKING:
    from wovr_core.robots.lab import SimulatedLab


class LabClock:
    """The lab's time. The world moves in `sleep`, in the thread of whoever sleeps."""

    def __init__(self, lab: SimulatedLab, realtime: bool) -> None:
        self._lab = lab
        self._realtime = realtime
        self._simulated = 0.0
        self._world = 0.0  # up to when the world has moved

    def now(self) -> float:
        return time.monotonic() if self._realtime else self._simulated

    def sleep(self, seconds: float) -> None:
        """Let the world move for so long."""
        period = self._lab.limits.period
        end = self.now() + max(seconds, 0.0)
        if self._world < self.now() - 2 * period:
            self._world = self.now() - period  # nobody looked for a while: the world stood still
        while self._world + period <= end + 1e-9:
            self._lab.advance()
            self._world += period
        if self._realtime:
            time.sleep(max(end - time.monotonic(), 0.0))
        else:
            self._simulated = end

    def wait(self, future: Future[Any], seconds: float) -> bool:
        """In simulated time the world stands still while the policy thinks."""
        if self._realtime:
            return PatientClock().wait(future, seconds)
        future.exception()
        return True


class LabGripper:
    """The gripper: done at once, as the world's next steps will show."""

    def __init__(self, lab: SimulatedLab) -> None:
        self._lab = lab

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        return self._told(width < 0.04, width, speed)

    def grasp(
        self, width: float, speed: float = 0.05, force: float = 20.0, eps_in: float = 0.02, eps_out: float = 0.08
    ) -> Future[bool]:
        return self._told(True, width, speed)

    def _told(self, close: bool, width: float, speed: float) -> Future[bool]:
        told: Future[bool] = Future()
        if not (0 <= width <= 0.1 and speed > 0):
            told.set_exception(GripperError(f"width {width} m at {speed} m/s is beyond this gripper"))
        else:
            self._lab.close_gripper(close)
            told.set_result(True)
        return told


class LabCamera:
    """LIBERO's agentview, upright as a real camera's picture."""

    name = "agentview"

    def __init__(self, lab: SimulatedLab) -> None:
        self._lab = lab
        self._seen: tuple[int, Frames] | None = None
        self.unplugged = False
        """For fault injection."""

    @property
    def fps(self) -> float:
        return self._lab.limits.rate

    def connect(self) -> None:
        """Nothing to open."""

    def disconnect(self) -> None:
        """Nothing to close."""

    def read(self) -> CameraFrame:
        if self.unplugged:
            raise CameraError("the lab's camera is unplugged")
        number = self._lab.steps
        if self._seen is None or self._seen[0] != number:
            self._seen = (number, np.ascontiguousarray(self._lab.env.frame()[:, ::-1]))
        now = self._lab.clock.now()
        return CameraFrame(self._seen[1], now, now, number)

    def forget(self) -> None:
        """The scene was changed: what was seen no longer counts."""
        self._seen = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
