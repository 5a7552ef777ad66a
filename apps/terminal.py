"""Small things for terminals: curves of characters, clocks, keys."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

CURVE = 16
"""Characters of a curve."""
_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """The values as bars, the lowest ▁ and the highest █; more than `width` are averaged in groups."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / span * len(_BARS)))] for value in means)


def clock(seconds: float | None) -> str:
    """As a clock shows it: 0:07, 12:34, 1:02:03."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def pressed_keys() -> Iterator[Callable[[float], str]]:
    """A function of seconds that waits for a key that long: "q", "up", "down", or ""."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read(seconds: float) -> str:
        if not select.select([descriptor], [], [], seconds)[0]:
            return ""
        typed = os.read(descriptor, 16).decode(errors="replace")
        names = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "k": "up", "j": "down", "q": "q"}
        return names.get(typed, "q" if typed in ("Q", "\x04") else "")

    tty.setcbreak(descriptor)
    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
