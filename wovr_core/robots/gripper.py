"""The gripper in a thread of its own: its calls block for as long as the fingers move, the arm's loop must not.

What it may be asked is checked by whoever passes a request on: here, in the client, and in the safety process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from wovr_core.robots.base import GripperError

MAX_WIDTH, MAX_SPEED, MAX_FORCE = 0.08, 0.1, 70.0
"""m, m/s, N: the Franka hand's."""


def check_grip(width: float, speed: float, force: float = MAX_FORCE) -> None:
    """Raises GripperError for what the hand cannot do, NaN included."""
    if not 0 <= width <= MAX_WIDTH:
        raise GripperError(f"gripper width {width} m is not in [0, {MAX_WIDTH}]")
    if not 0 < speed <= MAX_SPEED:
        raise GripperError(f"gripper speed {speed} m/s is not in (0, {MAX_SPEED}]")
    if not 0 < force <= MAX_FORCE:
        raise GripperError(f"grasp force {force} N is not in (0, {MAX_FORCE:g}]")


class ThreadedGripper:
    """Runs blocking gripper calls one after the other. A newer request replaces one that has not begun."""

    def __init__(
        self,
        move: Callable[[float, float], bool],
        grasp: Callable[[float, float, float, float, float], bool],
    ) -> None:
        self._move, self._grasp = move, grasp
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: Future[bool] | None = None
        self._lock = threading.Lock()

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        check_grip(width, speed)
        return self._submit(lambda: self._move(width, speed))

    def grasp(
        self, width: float, speed: float = 0.05, force: float = 20.0, eps_in: float = 0.02, eps_out: float = 0.08
    ) -> Future[bool]:
        check_grip(width, speed, force)
        return self._submit(lambda: self._grasp(width, speed, force, eps_in, eps_out))

    def close(self) -> None:
        """Drop what waits; what runs is left to end by itself."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, call: Callable[[], bool]) -> Future[bool]:
        with self._lock:
            if self._waiting is not None:
                self._waiting.cancel()  # only works on what has not begun
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="gripper")
            self._waiting = self._pool.submit(call)
            return self._waiting
