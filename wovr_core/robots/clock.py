"""Two clocks: the machine's, and one that tests turn by hand."""

from __future__ import annotations

import time


class WallClock:
    """`time.monotonic()`, which all processes of a machine share."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class ManualClock:
    """Stands still until somebody sleeps: simulated trials run as fast as the computer can."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
