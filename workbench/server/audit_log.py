"""Who did what, and what was refused: JSON Lines under $WOVR_HOME/audit.jsonl, only ever appended to."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wovr_core.files import explain_disk_errors, wovr_home

_LONGEST = 500
"""Characters of a text."""


class AuditLog:
    """Appends a line with one write, so that lines of several processes never mix. Safe for several threads."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or wovr_home() / "audit.jsonl"
        self._guard = threading.Lock()

    def write(self, who: str, what: str, **details: str | float | bool | None) -> None:
        """One line: time (UTC), who, what, and the details. Raises WovrError when it cannot be written."""
        entry: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who, "what": what}
        entry |= details
        line = json.dumps({key: _short(value) for key, value in entry.items()}).encode() + b"\n"
        with self._guard, explain_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a line that was torn stays alone
                os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def entries(self) -> list[Mapping[str, Any]]:
        """All lines that can be read, the oldest first."""
        if not self.path.exists():
            return []
        found: list[Mapping[str, Any]] = []
        for line in self.path.read_bytes().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found


def _short(value: Any) -> Any:
    return value[:_LONGEST] if isinstance(value, str) else value
