"""All runs together: found, kept up to date in the store, looked up by id. Ids are never made into paths."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from workbench.catalogue import query as queries
from workbench.run_data import RunData
from workbench.store import search
from workbench.store.annotations import RunAnnotations
from workbench.store.database import DatabaseConfig, StoreError
from workbench.store.indexer import Indexer, UpdateOptions, UpdateReport
from workbench.store.items import Item
from workbench.store.rows import items_of
from workbench.store.store import Store
from workbench.store.tables import Record, Run
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

log = logging.getLogger("wovr.catalogue")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class CatalogueConfig:
    """Where runs are looked for, and how often."""

    runs: Path | None = None
    """A folder of run folders; None: $WOVR_HOME/runs."""
    paths: tuple[Path, ...] = ()
    """Further run folders, or folders of run folders."""
    seconds: float = 4.0
    """A look at the disk lasts so long."""
    patience: float = 2.0
    """How many seconds a question waits for a look; a longer one goes on while what is known is shown."""
    store: str | None = None
    """Address of the store's database. None: the workbench's own, or one inside `runs` where that is given."""


@dataclass(frozen=True)
class RunProblem:
    """A run that cannot be shown, and why."""

    run: str
    reason: str


class Catalogue:
    """A view of the store over the runs that are found now. Safe for several threads."""

    def __init__(self, config: CatalogueConfig | None = None) -> None:
        self.config = config or CatalogueConfig()
        self._guard = threading.RLock()
        self._indexer: Indexer | None = None
        self._refuge: tempfile.TemporaryDirectory[str] | None = None
        self._trouble: list[RunProblem] = []
        self._look: _Look | None = None
        self._looked = float("-inf")
        self._thorough = False
        """Asked to look at every file; the look under way, if there is one, may have missed the reason."""
        self._found: dict[Path, str] = {}
        self._missing: list[RunProblem] = []
        self._bad: list[RunProblem] = []
        self._runs: dict[int, Path] = {}

    @property
    def store(self) -> Store:
        """The store that this looks into."""
        with self._guard:
            return self._opened().store

    def answer(self, query: queries.Query) -> queries.Found:
        """One page of what a query finds."""
        return self._ask(lambda session, runs: queries.answer(session, query, runs), queries.nothing(query))

    def ids(self, query: queries.Query) -> list[str]:
        """Ids of everything that a query finds, in order."""
        return self._ask(lambda session, runs: queries.found_ids(session, query, runs), [])

    def items(self) -> list[Item]:
        """Every item, newest run first. For scripts: a page asks for a page."""

        def every(session: Session, runs: frozenset[int]) -> list[Item]:
            wanted = search.Search(runs=runs, order="made")
            return [item for ids in search.pages(session, wanted) for item in items_of(session, ids)]

        return self._ask(every, [])

    def problems(self) -> list[RunProblem]:
        """What cannot be shown, and why."""
        self._ask(lambda session, runs: None, None)
        with self._guard:
            busy = [RunProblem("store", "runs are still being read; more will be here in a moment")]
            return [*self._trouble, *self._missing, *self._bad, *(busy if self._look else [])]

    def find(self, item_id: str) -> Item | None:
        """The item of this id, or None."""
        return self._one(Record.id == item_id)

    def pictured(self, stamp: str) -> Item | None:
        """The item whose picture this is, or None."""
        return self._one(Record.stamp == stamp)

    def annotations(self, item: Item) -> RunAnnotations:
        """The annotations of the item's run. Raises CorruptFileError."""
        with self._guard:
            return self._opened().annotations(self.run_folder(item))

    def run_folder(self, item: Item) -> Path:
        """The folder of the item's run."""
        with self._guard:
            return next(path for path in self._runs.values() if path in item.path.parents)

    def run_ids(self) -> frozenset[int]:
        """Run.id, in the store, of the runs that are found now and can be shown."""
        return self._ask(lambda session, runs: runs, frozenset())

    def look_again(self) -> None:
        """Have the next question look at every file, also in folders that seem unchanged."""
        with self._guard:
            self._thorough = True

    def close(self) -> None:
        """Let go of the database; the next question opens it again."""
        with self._guard:
            if self._look:
                self._look.stop()
                self._look = None
            if self._indexer:
                self._indexer.store.close()
                self._indexer = None
            if self._refuge:
                self._refuge.cleanup()
                self._refuge = None

    def _one(self, condition: ColumnElement[bool]) -> Item | None:
        def find(session: Session, runs: frozenset[int]) -> Item | None:
            found = session.scalars(select(Record.id).where(condition, Record.run_id.in_(sorted(runs)))).first()
            return items_of(session, [found])[0] if found else None

        return self._ask(find, None)

    def _ask(self, question: Callable[[Session, frozenset[int]], _Answer], otherwise: _Answer) -> _Answer:
        with self._guard:
            self._refresh()
            if not self._runs:
                return otherwise
            store, runs = self._opened().store, frozenset(self._runs)
        with store.read() as session:
            return question(session, runs)

    def _refresh(self) -> None:
        if self._look is None:
            if time.monotonic() - self._looked < self.config.seconds and not self._thorough:
                if self._indexer:
                    self._indexer.follow_logs()
                return
            self._found, self._missing = find_runs(self.config)
            thorough, self._thorough = self._thorough, False
            if not self._found:
                self._runs, self._bad, self._looked = {}, [], time.monotonic()
                return
            self._look = _Look(self._opened(), list(self._found), thorough)
        if self._look.wait(self.config.patience):
            self._finish(self._look)
            self._look, self._looked = None, time.monotonic()
            if self._thorough:  # asked for while that look was under way
                self._refresh()
                return
        self._runs = self._registered()

    def _finish(self, look: _Look) -> None:
        if look.error:
            self._trouble = [RunProblem("store", str(look.error))]
            log.warning("%s", look.error)
        elif look.report:
            self._bad = [RunProblem(run, reason) for run, reason in look.report.problems]
            self._trouble = [] if self._refuge is None else self._trouble

    def _registered(self) -> dict[int, Path]:
        bad = {problem.run for problem in self._bad}
        with self._opened().store.read() as session:
            rows = session.execute(select(Run.id, Run.path, Run.key)).all()
        return {run_id: Path(path) for run_id, path, key in rows if Path(path) in self._found and key not in bad}

    def _opened(self) -> Indexer:
        if self._indexer is None:
            self._indexer = Indexer(self._open())
        return self._indexer

    def _open(self) -> Store:
        url = self.config.store
        if url is None and self.config.runs is not None:
            url = f"sqlite:///{self.config.runs.absolute() / '.store.db'}"
        try:
            return Store.open(DatabaseConfig(url))
        except StoreError as error:
            # Everything but the annotations' index can be made again, and those are safe in their logs.
            log.warning("%s", error)
            self._trouble = [RunProblem("store", f"{error}. Until then a temporary one is used.")]
            self._refuge = tempfile.TemporaryDirectory(prefix="wovr-store-")
            return Store.open(DatabaseConfig(f"sqlite:///{self._refuge.name}/store.db"))


class _Look(threading.Thread):
    """One update of the store, in the background."""

    def __init__(self, indexer: Indexer, runs: list[Path], thorough: bool) -> None:
        super().__init__(name="wovr-look", daemon=True)
        self._indexer, self._run_folders = indexer, runs
        self._stopped = threading.Event()
        self._options = UpdateOptions(thorough=thorough, stop=self._stopped.is_set)
        self.report: UpdateReport | None = None
        self.error: StoreError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.report = self._indexer.update(self._run_folders, self._options)
        except StoreError as error:
            self.error = error

    def wait(self, seconds: float) -> bool:
        """Whether it has come to its end within so many seconds."""
        self.join(seconds)
        return not self.is_alive()

    def stop(self) -> None:
        """End it after the commit that it is at."""
        self._stopped.set()
        self.join()


def find_runs(config: CatalogueConfig) -> tuple[dict[Path, str], list[RunProblem]]:
    """Run folders, newest first, each with a name of its own; and the given paths that hold none."""
    found: list[Path] = []
    problems: list[RunProblem] = []
    below = config.runs or wovr_home() / "runs"
    found.extend(_runs_in(below))
    for path in config.paths:
        runs = [path] if (path / "run.json").is_file() else _runs_in(path)
        if not runs:
            problems.append(RunProblem(path.name, f"there is no run at {path}; start one with `wovr demo`"))
        found.extend(runs)
    unique = sorted(dict.fromkeys(path.resolve() for path in found), key=_age)
    named: dict[Path, str] = {}
    for path in unique:
        name, n = path.name, 2
        while name in named.values():
            name, n = f"{path.name}~{n}", n + 1
        named[path] = name
    return named, problems


def newest(recipe: str | None = None, runs: Path | None = None, stages: Sequence[str] = ()) -> Path | None:
    """The newest run below $WOVR_HOME/runs that has anything finished, or all of `stages`; of one recipe if named."""
    for path in find_runs(CatalogueConfig(runs=runs or wovr_home() / "runs"))[0]:
        try:
            data = RunData(path)
        except (WovrError, OSError, KeyError, TypeError, ValueError):
            continue
        fits = recipe is None or data.description.get("recipe") == recipe
        if fits and data.stages and all(stage in data.stages for stage in stages):
            return path
    return None


def _runs_in(folder: Path) -> Sequence[Path]:
    return [path.parent for path in folder.glob("*/run.json")] if folder.is_dir() else []


def _age(path: Path) -> tuple[float, str]:
    return -(path / "run.json").stat().st_mtime, path.name
