"""Files that only their owner may read: written whole or not at all, one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wovr_core.files import explain_disk_errors, fsync_directory


def write_private(path: Path, data: bytes) -> None:
    """As wovr_core.files.write_bytes, but for the owner alone (mode 0600) from the first byte on."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


def write_private_json(path: Path, value: Any) -> None:
    """See write_private."""
    write_private(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with this file among all processes of this machine; waits for its turn. The lock stands beside it."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent / f".{path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
