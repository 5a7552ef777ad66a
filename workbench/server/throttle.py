"""Not too much at once: failed passwords make the next try wait, and requests are counted by user."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_KEYS = 10_000
"""So many keys are remembered; the longest unused are forgotten."""


@dataclass(frozen=True)
class ThrottleConfig:
    """What a key may get wrong."""

    free: int = 5
    """Failures without a wait."""
    first: float = 2.0
    """Seconds of the first wait; each further failure doubles it."""
    longest: float = 900.0
    forget: float = 3600.0
    """Seconds without a failure after which a key is as new."""


@dataclass
class _Failures:
    count: int
    last: float
    until: float


class Throttle:
    """Waits after failures, by key (a name, an address). Safe for several threads."""

    def __init__(self, config: ThrottleConfig | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config or ThrottleConfig()
        self._clock = clock
        self._keys: OrderedDict[str, _Failures] = OrderedDict()
        self._guard = threading.Lock()

    def wait(self, key: str) -> float:
        """Seconds until this key may try again; 0 if it may now."""
        with self._guard:
            known = self._keys.get(key)
            return max(0.0, known.until - self._clock()) if known else 0.0

    def attempt(self, key: str) -> float:
        """Counts a try as failed before it is made, and returns 0; while the key waits, how long it still has to.

        Tries that arrive together so cannot all slip through; `succeeded` or `forgive` takes it back.
        """
        with self._guard:
            now = self._clock()
            waiting = self._keys.get(key)
            if waiting and waiting.until > now:
                return waiting.until - now
            known = self._keys.pop(key, None)
            if known is None or now - known.last > self.config.forget:
                known = _Failures(0, now, now)
            known.count, known.last = known.count + 1, now
            over = known.count - self.config.free
            if over >= 0:
                known.until = now + min(self.config.longest, self.config.first * 2.0 ** min(over, 30))
            self._keys[key] = known
            while len(self._keys) > _KEYS:
                self._keys.popitem(last=False)
            return 0.0

    def succeeded(self, key: str) -> None:
        """The key is as new."""
        with self._guard:
            self._keys.pop(key, None)

    def forgive(self, key: str) -> None:
        """Takes one failure back, which turned out to be none."""
        with self._guard:
            known = self._keys.get(key)
            if known:
                known.count, known.until = max(0, known.count - 1), min(known.until, self._clock())


@dataclass(frozen=True)
class RateConfig:
    """A bucket of tokens: so many at once, and so many a second over time."""

    burst: int
    per_second: float


class Rate:
    """Requests by key, each taking one token. Safe for several threads."""

    def __init__(self, config: RateConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, key: str) -> float:
        """Takes a token and returns 0; where there is none, the seconds until there is."""
        with self._guard:
            now = self._clock()
            tokens, then = self._buckets.pop(key, (float(self.config.burst), now))
            tokens = min(float(self.config.burst), tokens + (now - then) * self.config.per_second)
            enough = tokens >= 1
            self._buckets[key] = (tokens - 1 if enough else tokens, now)
            while len(self._buckets) > _KEYS:
                self._buckets.popitem(last=False)
            return 0.0 if enough else (1 - tokens) / self.config.per_second
