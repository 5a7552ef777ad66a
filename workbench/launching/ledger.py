"""Who launched, cancelled and retried which job: one JSON line each, appended, never changed.

A job's own folder does not know people: a terminal on this machine needs no name. What a person starts through
the app or a notebook is counted and told apart here.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.jobs.records import locked
from wovr_core.files import explain_disk_errors


@dataclass(frozen=True)
class Deed:
    """One line."""

    job: str
    user: str
    act: str
    """launch, cancel or retry."""
    time: float
    """Unix seconds."""
    key: str = ""
    """Of a launch: what its submission was told apart by."""


class Ledger:
    """jobs/.launches.jsonl. Safe for several threads and processes."""

    def __init__(self, jobs: Path) -> None:
        self.path = jobs / ".launches.jsonl"
        self._known: tuple[tuple[int, int], list[Deed]] = ((-1, -1), [])

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One at a time counts what there is and adds to it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_suffix(".lock")):
            yield

    def write(self, job: str, user: str, act: str, key: str = "") -> None:
        """Append a line. Raises WovrError when the disk will not have it."""
        line = json.dumps(asdict(Deed(job, user, act, time.time(), key))) + "\n"
        with explain_disk_errors(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line.encode())  # one write: lines of two processes do not mix
            finally:
                os.close(descriptor)

    def deeds(self) -> list[Deed]:
        """All lines, the oldest first; one torn by a crash is passed over."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return []
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._known[0]:
            found = []
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    found.append(Deed(**json.loads(line)))
            self._known = (stamp, found)
        return self._known[1]

    def launched_as(self, key: str) -> str | None:
        """The job that a launch with this key made, if there was one."""
        return next((deed.job for deed in self.deeds() if deed.act == "launch" and deed.key == key), None)

    def launched_by(self) -> dict[str, str]:
        """Job -> who launched it, first come."""
        found: dict[str, str] = {}
        for deed in self.deeds():
            if deed.act == "launch":
                found.setdefault(deed.job, deed.user)
        return found
