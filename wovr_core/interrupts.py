"""Ctrl-C asks politely: the running stage finishes its step, checkpoints and stops. Twice means now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_requested = threading.Event()


def stop_requested() -> bool:
    return _requested.is_set()


@contextmanager
def polite_interrupts() -> Iterator[None]:
    """Install the handlers for SIGINT and SIGTERM (main thread only) and remove them afterwards."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if _requested.is_set():
            raise KeyboardInterrupt
        _requested.set()
        print("\nstopping after this step; press Ctrl-C again to stop at once", flush=True)

    _requested.clear()
    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _requested.clear()
