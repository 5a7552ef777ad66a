"""Keeps the store's rows up to date with the run folders: only what has changed is read, in small commits.

Whether a file has changed is told by its modification time and size. An interrupted update goes on where it was:
every commit holds whole files, and what is in is not read again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from workbench.scrubber.span_log import LOG_NAME
from workbench.store import run_rows
from workbench.store.annotations import RunAnnotations
from workbench.store.database import StoreError
from workbench.store.rows import remove_records, write_items
from workbench.store.run_items import files_in, read_item, record_folders
from workbench.store.store import Store
from workbench.store.tables import Record
from wovr_core.errors import CorruptFileError, WovrError

log = logging.getLogger("wovr.store")

BATCH = 250
"""Files in one commit."""
_SETTLED_NS = 2_000_000_000
"""Age from which on a folder's modification time can be trusted; within one tick of the clock it may change twice."""

OnFiles = Callable[[int, int], None]
"""Called with (done, all) of the files of a run that had to be read."""


@dataclass
class UpdateReport:
    """What an update found."""

    runs: int = 0
    read: int = 0
    """Files whose headers were read, because they are new or have changed."""
    unchanged: int = 0
    removed: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    """(record id, why) of files read just now that are damaged."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(run, why) of runs that cannot be read as a whole."""


@dataclass(frozen=True)
class UpdateOptions:
    """How to update, and whom to tell."""

    thorough: bool = False
    """Look at every file, also in runs that seem unchanged since this process looked last."""
    on_run: Callable[[Path], OnFiles | None] = lambda run: None
    """Called before each run; what it returns is called as files are read."""
    stop: Callable[[], bool] = lambda: False
    """Asked after each commit; true ends the update early."""


class Indexer:
    """Updates a store; remembers which runs were quiet at its last look. Safe for several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._guard = threading.RLock()
        self._quiet: dict[Path, tuple[str, dict[Path, int]]] = {}
        self._annotations: dict[Path, RunAnnotations] = {}

    def update(self, runs: Sequence[Path], options: UpdateOptions | None = None) -> UpdateReport:
        """Bring the rows of these run folders up to date; one that cannot be read is reported, the others go on.

        Raises StoreError when the store cannot be read or written.
        """
        options, report = options or UpdateOptions(), UpdateReport()
        with self._guard:
            for path, (run_id, key) in run_rows.register(self.store, runs).items():
                self._update_run(run_id, key, path, options, report)
                report.runs += 1
                if options.stop():
                    break
        return report

    def annotations(self, path: Path) -> RunAnnotations:
        """The annotations of a run. Raises CorruptFileError when its log cannot be read."""
        with self._guard:
            if path not in self._annotations:
                run_id, _ = run_rows.register(self.store, [path])[path]
                self._annotations[path] = RunAnnotations(self.store, run_id, path)
            return self._annotations[path]

    def follow_logs(self) -> None:
        """Take in what was annotated since the last look, in the runs whose annotations this process has in use."""
        with self._guard:
            for path, annotations in self._annotations.items():
                if annotations.grown():
                    self._follow_log(path)

    def _update_run(self, run_id: int, key: str, path: Path, options: UpdateOptions, report: UpdateReport) -> None:
        problem = None
        try:
            before = _state(path)
            if options.thorough or self._quiet.get(path) != before:
                self._quiet.pop(path, None)
                self._update_files(run_id, key, path, options, report)
                newest = max(before[1].values(), default=0)
                if time.time_ns() - newest > _SETTLED_NS and not options.stop():
                    self._quiet[path] = before
        except StoreError:
            raise
        except (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            problem = str(error) or type(error).__name__
            report.problems.append((key, problem))
            log.warning("%s cannot be shown: %s", path, problem)
        run_rows.note_problem(self.store, run_id, problem)
        self._follow_log(path)

    def _update_files(self, run_id: int, key: str, path: Path, options: UpdateOptions, report: UpdateReport) -> None:
        audits, titles = run_rows.update_facts(self.store, run_id, path)
        files = {str(file.path.relative_to(path)): file for place in record_folders(path) for file in files_in(*place)}
        known = run_rows.known_files(self.store, run_id)
        self._remove_gone(run_id, path, [name for name in known if name not in files], report)
        changed = [file for name, file in files.items() if known.get(name) != (file.size, file.mtime_ns)]
        report.unchanged += len(files) - len(changed)
        if not changed:
            return
        on_files = options.on_run(path)
        digests = {folder: run_rows.digests(folder) for folder in {file.path.parent for file in changed}}
        for start in range(0, len(changed), BATCH):
            batch = changed[start : start + BATCH]
            read = [(file, run_rows.with_audit(read_item(key, file, titles), path, audits)) for file in batch]
            sums = {file.path: digests[file.path.parent].get(file.path.stem) for file in batch}
            with self.store.write() as session:
                write_items(session, run_id, path, read, sums)
            report.read += len(batch)
            report.broken.extend((item.id, item.broken) for _, item in read if item.broken)
            if on_files:
                on_files(start + len(batch), len(changed))
            if options.stop():
                return

    def _remove_gone(self, run_id: int, path: Path, gone: Sequence[str], report: UpdateReport) -> None:
        names = {name for name in gone if not (path / name).exists()}
        if names:
            with self.store.write() as session:
                rows = session.execute(select(Record.id, Record.path).where(Record.run_id == run_id))
                remove_records(session, [record for record, name in rows if name in names])
            report.removed += len(names)

    def _follow_log(self, path: Path) -> None:
        if path in self._annotations or (path / LOG_NAME).exists():
            try:
                self.annotations(path).follow()
            except CorruptFileError as error:
                log.warning("%s: its annotations cannot be read: %s", path, error)


def _state(path: Path) -> tuple[str, dict[Path, int]]:
    """Changes when anything does that a run's rows are made of, but for a file rewritten in place."""
    return run_rows.signature(path), {folder: folder.stat().st_mtime_ns for _, _, folder in record_folders(path)}
