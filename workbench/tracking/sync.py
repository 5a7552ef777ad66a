"""Send a run's metrics, tables, clips and lineage to a tracker: each thing once, after the run or while it goes on.

What was sent is written to RUN/tracking/<sink>.json when a stage is left. Everything of a stage is numbered in an
order that its files determine, so that after a kill the sink's own word (how many it has) closes the gap.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workbench.tracking.clips import Clip, clips_of
from workbench.tracking.lineage import Artifact, inputs_of, outputs_of
from workbench.tracking.records import CorruptLine, MetricRecord, MetricsTail, Progress
from workbench.tracking.stages import StageView, stages_of
from workbench.tracking.tables import Table, tables_of
from wovr_core.errors import CorruptFileError, RunFolderError
from wovr_core.files import explain_disk_errors, fingerprint, read_json, write_json

SCHEMA = 1


class Sink(Protocol):
    """Where metrics go. One stage is open at a time."""

    name: str
    """Names the file of positions."""

    def open(self, stage: StageView, stage_id: str) -> int:
        """Begin with a stage, or go on; returns how many numbered things of it are there already."""

    def scalars(self, number: int, record: MetricRecord) -> None: ...

    def table(self, number: int, table: Table) -> None: ...

    def clip(self, number: int, clip: Clip) -> None: ...

    def lineage(self, inputs: list[Artifact], outputs: list[Artifact]) -> None:
        """Called once a stage is finished; what is there already does no harm."""

    def close(self) -> None:
        """Leave the stage; everything is kept safe when this returns."""


@dataclass(frozen=True)
class SyncConfig:
    """What goes along with the numbers."""

    clips: int = 4
    """Animations per stage; 0 sends none."""


@dataclass
class Position:
    """How far one stage was sent."""

    generation: str
    """Of the stage folder that it speaks of."""
    sent: Progress = field(default_factory=dict)
    count: int = 0
    """Numbered things."""
    finished: bool = False


@dataclass
class SyncReport:
    """What one sync did."""

    stages: int = 0
    """Stages that had something new."""
    records: int = 0
    corrupt: list[CorruptLine] = field(default_factory=list)


class Sync:
    """A context manager that holds the run's position file; `step` sends what is new.

    Raises:
        RunFolderError: another process sends this run to the same tracker.
        CorruptFileError: a damaged position file.
    """

    def __init__(self, run: Path, sink: Sink, config: SyncConfig | None = None) -> None:
        self.run = run
        self.sink = sink
        self.config = config or SyncConfig()
        self._path = run / "tracking" / f"{sink.name}.json"
        self._run_id = ""
        self._positions: dict[str, Position] = {}
        self._tails: dict[str, MetricsTail] = {}
        self._open: StageView | None = None
        self._have = 0

    def __enter__(self) -> Sync:
        stages_of(self.run)  # refuses a folder that is no run
        with explain_disk_errors(self._path):
            self._path.parent.mkdir(exist_ok=True)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise RunFolderError(f"another wovr sends {self.run} to {self.sink.name} already") from error
        self._run_id, self._positions = _read_positions(self._path)
        if not self._run_id:
            self._run_id = secrets.token_hex(6)
            self._save()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # Where a batch broke off, positions are half-way: the sink's own count closes that gap the next time.
            self._leave(save=kind is None)
        finally:
            os.close(self._lock)

    def step(self) -> SyncReport:
        """Send what the stages have written since the last step."""
        report = SyncReport()
        stages = stages_of(self.run)
        for stage in stages:
            position = self._position(stage)
            tail = self._tails.setdefault(
                stage.name, MetricsTail(stage.path / "metrics.jsonl", progress=dict(position.sent))
            )
            known = len(tail.corrupt)
            records = tail.poll()
            report.corrupt += tail.corrupt[known:]
            finishing = stage.outputs is not None and not position.finished
            if not records and not finishing:
                continue
            self._enter(stage)
            for record in records:
                self._send(position, self.sink.scalars, record)
            position.sent = dict(tail.progress)
            if finishing:
                self._finish(stage, stages, position)
            report.stages += 1
            report.records += len(records)
        return report

    def _finish(self, stage: StageView, stages: list[StageView], position: Position) -> None:
        for table in tables_of(stage):
            self._send(position, self.sink.table, table)
        for clip in clips_of(stage, self.config.clips):
            self._send(position, self.sink.clip, clip)
        self.sink.lineage(inputs_of(stage, stages), outputs_of(stage))
        position.finished = True
        self._leave()

    def _send(self, position: Position, send: Callable[[int, Any], None], thing: object) -> None:
        if position.count >= self._have:
            send(position.count, thing)
        position.count += 1

    def _position(self, stage: StageView) -> Position:
        found = self._positions.get(stage.name)
        if found is None or found.generation != stage.generation:
            found = self._positions[stage.name] = Position(stage.generation)
            self._tails.pop(stage.name, None)
        return found

    def _enter(self, stage: StageView) -> None:
        if self._open is not None and (self._open.name, self._open.generation) == (stage.name, stage.generation):
            return
        self._leave()
        stage_id = fingerprint([self._run_id, stage.name, stage.generation])
        self._have = self.sink.open(stage, stage_id)
        self._open = stage

    def _leave(self, save: bool = True) -> None:
        """Positions are saved only when the sink has what they say."""
        if self._open is not None:
            self._open = None
            self.sink.close()
            if save:
                self._save()

    def _save(self) -> None:
        stages = {name: asdict(position) for name, position in self._positions.items()}
        write_json(self._path, {"schema": SCHEMA, "run_id": self._run_id, "stages": stages})


def follow(
    sync: Sync,
    report: Callable[[SyncReport], None],
    *,
    until: str,
    interval: float = 2.0,
    patience: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Step every `interval` seconds until this stage is finished, or nothing has come for `patience` seconds."""
    quiet = 0.0
    while True:
        done = {stage.name for stage in stages_of(sync.run) if stage.outputs is not None}
        new = sync.step()
        report(new)
        quiet = 0.0 if new.stages else quiet + interval
        if until in done or (patience is not None and quiet > patience):
            return
        sleep(interval)


def _read_positions(path: Path) -> tuple[str, dict[str, Position]]:
    if not path.exists():
        return "", {}
    record = read_json(path)
    try:
        if record["schema"] != SCHEMA:
            raise CorruptFileError(f"{path} has schema {record['schema']}, this version writes {SCHEMA}; {_ADVICE}")
        stages = {}
        for name, values in record["stages"].items():
            sent = {phase: (int(step), int(count)) for phase, (step, count) in values.pop("sent").items()}
            stages[name] = Position(sent=sent, **values)
        return str(record["run_id"]), stages
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not a position file of tracking ({error!r}); {_ADVICE}") from error


_ADVICE = "delete it to send the run as a new one"
