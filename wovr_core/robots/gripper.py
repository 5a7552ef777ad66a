"""The gripper in a thread of its own: its calls block for as long as the fingers move, the arm's loop must not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from wovr_core.robots.base import GripperError


class ThreadedGripper:
    """Runs blocking gripper calls one after the other. A newer request replaces one that has not begun."""

    def __init__(
        self,
        move: Callable[[float, float], bool],
        grasp: Callable[[float, float, float, float, float], bool],
        max_width: float = 0.08,
    ) -> None:
        self._move, self._grasp, self._max_width = move, grasp, max_width
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: Future[bool] | None = None
        self._lock = threading.Lock()

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        self._check(width, speed)
        return self._submit(lambda: self._move(width, speed))

    def grasp(
        self, width: float, speed: float = 0.05, force: float = 20.0, eps_in: float = 0.02, eps_out: float = 0.08
    ) -> Future[bool]:
        self._check(width, speed)
        if not 0 < force <= 70:
            raise GripperError(f"grasp force {force} N is not in (0, 70]")
        return self._submit(lambda: self._grasp(width, speed, force, eps_in, eps_out))

    def close(self) -> None:
        """Drop what waits; what runs is left to end by itself."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, width: float, speed: float) -> None:
        if not 0 <= width <= self._max_width:
            raise GripperError(f"gripper width {width} m is not in [0, {self._max_width}]")
        if not 0 < speed <= 0.1:
            raise GripperError(f"gripper speed {speed} m/s is not in (0, 0.1]")

    def _submit(self, call: Callable[[], bool]) -> Future[bool]:
        with self._lock:
            if self._waiting is not None:
                self._waiting.cancel()  # only works on what has not begun
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="gripper")
            self._waiting = self._pool.submit(call)
            return self._waiting
