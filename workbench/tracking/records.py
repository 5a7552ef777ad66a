"""Lines of metrics.jsonl as typed records, and a tail that follows the file while a stage writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wovr_core.files import explain_disk_errors

_CHECKED_BYTES = 256
"""Bytes before the reading position that are compared, to notice that a file was written anew."""


@dataclass(frozen=True)
class MetricRecord:
    """One line that a stage logged."""

    phase: str
    """Which loop of the stage; "" for a stage that has one."""
    step: int
    values: Mapping[str, float]
    """What was not finite is NaN."""
    seconds: float
    """Wall time of the stage so far, over all attempts; NaN where the line has none."""

    def named(self) -> dict[str, float]:
        """Values by "phase/name"."""
        prefix = f"{self.phase}/" if self.phase else ""
        return {f"{prefix}{name}": value for name, value in self.values.items()}


@dataclass(frozen=True)
class CorruptLine:
    """A line that is no metric record; it is passed over, and said."""

    path: Path
    number: int
    """From 1."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path} line {self.number}: {self.reason}"


class LineError(ValueError):
    """Why a line is no metric record."""


def parse_line(text: bytes) -> MetricRecord:
    """Read one line. Raises LineError."""
    try:
        line = json.loads(text)
    except ValueError as error:  # of JSON and of UTF-8
        raise LineError(f"not JSON ({error})") from error
    if not isinstance(line, dict):
        raise LineError(f"a JSON object is wanted, found {type(line).__name__}")
    phase, step, seconds = line.pop("phase", ""), line.pop("step", None), line.pop("seconds", None)
    if not isinstance(phase, str):
        raise LineError(f"phase = {phase!r} is no text")
    if type(step) is not int or step < 0:
        raise LineError(f"step = {step!r} is no count")
    return MetricRecord(phase, step, {name: _number(name, value) for name, value in line.items()}, _seconds(seconds))


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, (int, float)):
        return float(value)
    raise LineError(f"{name} = {value!r} is no number")


def _seconds(value: Any) -> float:
    return _number("seconds", value)


Progress = dict[str, tuple[int, int]]
"""phase -> (its newest step, how many lines of that step): in a phase steps never fall."""


@dataclass
class MetricsTail:
    """Hands out each record once, though an interrupted stage that goes on writes its last steps anew.

    A record is known by (phase, step, which line of that step). A line without its newline is still being written
    and waits for the next poll.
    """

    path: Path
    progress: Progress = field(default_factory=dict)
    """Of what was handed out; hand it in again to go on from there."""
    corrupt: list[CorruptLine] = field(default_factory=list)
    """Of the file as it is now."""
    _offset: int = 0
    _number: int = 0
    _before: bytes = b""
    _scanned: Progress = field(default_factory=dict)

    def poll(self) -> list[MetricRecord]:
        """Records that were not handed out yet. Raises WovrError where the file may not be read."""
        records = []
        for text in self._new_lines():
            self._number += 1
            if not text.strip():
                continue
            try:
                record = parse_line(text)
            except LineError as error:
                self.corrupt.append(CorruptLine(self.path, self._number, str(error)))
                continue
            if self._is_new(record):
                records.append(record)
        return records

    def _is_new(self, record: MetricRecord) -> bool:
        step, count = self._scanned.get(record.phase, (-1, 0))
        place = (record.step, count + 1 if record.step == step else 1)
        self._scanned[record.phase] = place
        if place <= self.progress.get(record.phase, (-1, 0)):
            return False
        self.progress[record.phase] = place
        return True

    def _new_lines(self) -> list[bytes]:
        with explain_disk_errors(self.path):
            try:
                file = self.path.open("rb")
            except FileNotFoundError:
                self._rewind()
                return []
        with file:
            file.seek(self._offset - len(self._before))
            data = file.read()
            if not data.startswith(self._before):  # cut short, or replaced: dropped steps are coming again
                self._rewind()
                file.seek(0)
                data = file.read()
        new = data[len(self._before) :]
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._before = (self._before + whole)[-_CHECKED_BYTES:]
        return whole.splitlines() if whole else []

    def _rewind(self) -> None:
        self._offset, self._number, self._before, self._scanned = 0, 0, b"", {}
        self.corrupt.clear()
