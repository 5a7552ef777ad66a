"""A folder of files that can be made again: made when first asked for, the least used dropped beyond a size."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from wovr_core.errors import WovrError
from wovr_core.files import write_bytes

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,127}")
_LOW_WATER = 0.9
"""After an eviction so much of the budget is used."""
_RECOUNT = 100
"""Files after which the folder is measured again, as other processes write into it too."""


class FileCache:
    """Safe for several threads and processes. A full or read-only disk costs time, never an answer."""

    def __init__(self, folder: Path, budget: int, makers: int = 2) -> None:
        """budget: bytes. makers: how many files are made at one time."""
        self.folder, self.budget = folder, budget
        self._makers = threading.Semaphore(makers)
        self._guard = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._used = 0
        self._until_recount = 0

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The file's content. Two askers of one key wait for one maker. Raises what `make` raises.

        key: a file name of letters, digits, `.`, `_`, `-`; of the caller's making, never a browser's word.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot name a cached file")
        path = self.folder / key[:2] / key
        found = _read(path)
        if found is not None:
            return found
        with self._guard:
            mine = self._making.setdefault(key, threading.Lock())
        try:
            with mine:
                found = _read(path)
                if found is not None:
                    return found
                with self._makers:
                    data = make()
                self._keep(path, data)
                return data
        finally:
            with self._guard:
                self._making.pop(key, None)

    def size(self) -> int:
        """Bytes in the folder."""
        return sum(size for _, size, _ in self._files())

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            write_bytes(path, data)
            with self._guard:
                self._used += len(data)
                self._until_recount -= 1
                if self._until_recount < 0:
                    self._used, self._until_recount = self.size(), _RECOUNT
                if self._used > self.budget:
                    self._evict(path)
        except (WovrError, OSError):
            return

    def _evict(self, newest: Path) -> None:
        files = sorted(self._files())
        self._used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._used <= self.budget * _LOW_WATER:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                self._used -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """(last used in ns, size, path)"""
        found = []
        for path in self.folder.glob("*/*"):
            try:
                stat = path.stat()
            except OSError:
                continue  # another process evicted it
            found.append((stat.st_mtime_ns, stat.st_size, path))
        return found


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # its modification time says when it was last used
    return data
