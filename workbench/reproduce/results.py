"""results/NAME.json: {"command", "commit", "rows"}, each row written as it is finished, and never twice."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wovr_core
from wovr_core.errors import CorruptFileError
from wovr_core.files import read_json, write_json
from wovr_core.run_folder import describe_machine

Row = dict[str, Any]
IDENTITY = ("suite", "task", "arm", "variant", "seed", "horizon", "score")
"""The keys, of those a row has, that say which row it is."""


class Results:
    """One study's rows on disk. Every call reads the file anew, and writes it whole or not at all."""

    def __init__(self, path: Path, command: str) -> None:
        self.path = path
        self.command = command

    def rows(self) -> list[Row]:
        """All rows so far. Raises CorruptFileError when the file is not what it should be."""
        return read_rows(self.path) if self.path.exists() else []

    def finished(self, wanted: Mapping[str, Any], config: str) -> bool:
        """Whether the row `wanted` (its identity) is there and was made with this configuration."""
        return any(identity(row) == identity(wanted) and row.get("config") == config for row in self.rows())

    def put(self, rows: Sequence[Row]) -> None:
        """Add rows, with the commit and the processor that made them; one of the same identity is replaced. Runs of
        other seeds or suites may share the file."""
        commit = current_commit()
        made = {"commit": commit, "processor": describe_machine()["processor"]}
        new = {identity(row): row | made for row in rows}
        with self._alone():
            kept = [row for row in self.rows() if identity(row) not in new]
            ordered = sorted([*kept, *new.values()], key=lambda row: [str(v).zfill(6) for v in identity(row)])
            write_json(self.path, {"command": self.command, "commit": commit, "rows": ordered})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Between reading and writing nobody else writes: a lock on the folder, as the file is replaced each time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which row it is: the values of IDENTITY, None where it has no such key."""
    return tuple(row.get(key) for key in IDENTITY)


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file. Raises CorruptFileError."""
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("rows"), list):
        raise CorruptFileError(f'{path} is no results file: expected {{"command", "commit", "rows": [...]}}')
    return [dict(row) for row in record["rows"]]


def current_commit() -> str:
    """The commit of this source tree, "+" appended if it has changes; the version where there is no git."""
    root = Path(wovr_core.__file__).parents[1]
    try:
        short = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "wovr_core", "workbench")
    except (OSError, subprocess.SubprocessError):
        return wovr_core.__version__
    return short + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
