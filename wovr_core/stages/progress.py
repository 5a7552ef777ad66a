"""Progress on a terminal (a bar with ETA and throughput), and plain lines now and then elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping

from tqdm.auto import tqdm

logger = logging.getLogger("wovr.progress")
QUIET_INTERVAL = 15.0
"""Seconds between lines where there is no terminal."""


class Progress:
    """Counts up to `total`. Of several processes that train together, the first one says it for all."""

    def __init__(self, label: str, total: int, unit: str, initial: int = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self._done = self._initial = initial
        self._started = self._said = time.monotonic()
        self._silent = os.environ.get("RANK", "0") != "0"  # as accelerate and torchrun number processes
        shown = sys.stderr.isatty() and not self._silent
        self._bar = tqdm(total=total, initial=initial, desc=label, unit=unit) if shown else None

    @property
    def rate(self) -> float:
        """Units a second since this attempt began."""
        return (self._done - self._initial) / max(1e-9, time.monotonic() - self._started)

    def update(self, count: int = 1) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._silent and time.monotonic() - self._said > QUIET_INTERVAL:
            self._said = time.monotonic()
            logger.info("%s: %d/%d%s", self.label, self._done, self.total, self._pace())

    def _pace(self) -> str:
        """Throughput and time left; neither after a single unit, which carries what starting cost."""
        done, left = self._done - self._initial, self.total - self._done
        if done < 2:
            return ""
        speed = f"{self.rate:.1f} {self.unit}/s" if self.rate >= 1 else f"{1 / self.rate:.1f} s/{self.unit}"
        seconds = left / self.rate
        return f", {speed}, " + (f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left")

    def show(self, metrics: Mapping[str, float]) -> None:
        """Two or three numbers beside the bar."""
        if self._bar is not None:
            shown = {key: f"{value:.3g}" for key, value in list(metrics.items())[:3]}
            self._bar.set_postfix(shown)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
