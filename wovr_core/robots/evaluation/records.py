"""What happened in an evaluation, as JSON Lines that only grow: each line carries the digest of the one before.

The first line's predecessor is the digest of the plan. Whoever changes, removes, adds or reorders a line, or the plan,
breaks the chain, and no report is made of it. (What a chain by itself cannot show is that its *last* lines were cut
off; so every command prints the newest digest, to be kept elsewhere.) A line is on the disk before anybody is told.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.errors import WovrError
from wovr_core.files import explain_disk_errors, fsync_directory

KINDS = ("begin", "reset", "end", "interrupted", "label", "exclude", "stop", "abandon", "unblind")


class TamperedError(WovrError):
    """Records, plan or files that are not what was written."""


@dataclass(frozen=True)
class Record:
    """One line."""

    number: int
    """From 1."""
    time: float
    """Seconds since 1970."""
    kind: str
    """One of KINDS."""
    body: Mapping[str, Any]
    previous: str
    digest: str
    """sha256 of all the others, previous included."""


class RecordLog:
    """The records of one evaluation. Safe for several processes: an append holds a lock on the file."""

    def __init__(self, path: Path, anchor: str, now: Callable[[], float] = time.time) -> None:
        """anchor: what the first record follows, the plan's digest."""
        self.path = path
        self._anchor = anchor
        self._now = now

    def read(self) -> list[Record]:
        """All records, checked. A last line that a crash cut short is passed over: nobody was told of it.

        Raises:
            TamperedError: a line that is none, or does not follow the one before.
        """
        data = self.path.read_bytes() if self.path.exists() else b""
        return self._parse(data[: data.rfind(b"\n") + 1])

    def append(
        self, kind: str, body: Mapping[str, Any], check: Callable[[list[Record]], None] = lambda records: None
    ) -> Record:
        """Add one record; returns once it is on the disk.

        Args:
            check: is given the records so far while nobody else can add any, and may raise to prevent this one.

        Raises:
            TamperedError: the records so far do not hold. WovrError: a full or read-only disk.
        """
        if kind not in KINDS:
            raise ValueError(f"record kind {kind!r} is none of {KINDS}")
        with explain_disk_errors(self.path):
            new = not self.path.exists()
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                data = file.read()
                whole = data.rfind(b"\n") + 1
                records = self._parse(data[:whole])
                check(records)
                record = self._next(records, kind, body)
                line = _line(record)
                if whole < len(data):
                    file.truncate(whole)
                try:
                    written = 0
                    while written < len(line):
                        written += file.write(line[written:])
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(whole)
                    raise
            if new:
                fsync_directory(self.path.parent)
        return record

    def head(self) -> str:
        """Digest of the newest record: note it down elsewhere, and even cut-off lines are found out."""
        records = self.read()
        return records[-1].digest if records else self._anchor

    def _next(self, records: list[Record], kind: str, body: Mapping[str, Any]) -> Record:
        previous = records[-1].digest if records else self._anchor
        number, now = len(records) + 1, round(self._now(), 3)
        return Record(number, now, kind, dict(body), previous, digest_of(number, now, kind, body, previous))

    def _parse(self, data: bytes) -> list[Record]:
        records: list[Record] = []
        previous = self._anchor
        for number, text in enumerate(data.splitlines(), 1):
            try:
                value = json.loads(text)
                record = Record(**value)
                digest = digest_of(record.number, record.time, record.kind, record.body, record.previous)
            except (ValueError, TypeError) as error:
                raise TamperedError(f"{self.path}, line {number} is no record: {error}") from error
            if (record.number, record.previous, record.digest) != (number, previous, digest):
                raise TamperedError(
                    f"{self.path}, line {number} was changed, or lines before it were changed, added or removed: "
                    "its digest does not follow from them"
                )
            records.append(record)
            previous = record.digest
        return records


def digest_of(number: int, when: float, kind: str, body: Mapping[str, Any], previous: str) -> str:
    """sha256 over the canonical JSON of a record without its digest."""
    return hashlib.sha256(_canonical([number, when, kind, dict(body), previous])).hexdigest()


def _line(record: Record) -> bytes:
    return _canonical({**record.__dict__, "body": dict(record.body)}) + b"\n"


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
