"""All runs together: found, kept up to date, looked up by id. Ids are never made into paths."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.catalogue.items import Item
from workbench.catalogue.run_items import RunReader
from workbench.run_data import RunData
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

log = logging.getLogger("wovr.catalogue")


@dataclass(frozen=True)
class CatalogueConfig:
    """Where runs are looked for, and how often."""

    runs: Path | None = None
    """A folder of run folders; None: $WOVR_HOME/runs."""
    paths: tuple[Path, ...] = ()
    """Further run folders, or folders of run folders."""
    seconds: float = 4.0
    """A look at the disk lasts so long."""


@dataclass(frozen=True)
class RunProblem:
    """A run that cannot be shown, and why."""

    run: str
    reason: str


class Catalogue:
    """Safe for several threads."""

    def __init__(self, config: CatalogueConfig | None = None) -> None:
        self.config = config or CatalogueConfig()
        self._guard = threading.RLock()
        self._readers: dict[Path, RunReader] = {}
        self._items: dict[str, Item] = {}
        self._pictures: dict[str, Item] = {}
        self._problems: list[RunProblem] = []
        self._logs: dict[Path, SpanLog] = {}
        self._looked = float("-inf")

    def items(self) -> list[Item]:
        """Every item, in the order of runs (newest first) and stages."""
        with self._guard:
            self._look()
            return list(self._items.values())

    def problems(self) -> list[RunProblem]:
        with self._guard:
            self._look()
            return list(self._problems)

    def find(self, item_id: str) -> Item | None:
        """The item of this id, or None."""
        with self._guard:
            self._look()
            return self._items.get(item_id)

    def pictured(self, stamp: str) -> Item | None:
        """The item whose picture this is, or None."""
        with self._guard:
            return self._pictures.get(stamp)

    def span_log(self, item: Item) -> SpanLog:
        """The log of annotations beside the item's run. Raises CorruptFileError."""
        with self._guard:
            path = self.run_folder(item)
            if path not in self._logs:
                self._logs[path] = SpanLog(path / LOG_NAME)
            return self._logs[path]

    def run_folder(self, item: Item) -> Path:
        """The folder of the item's run."""
        with self._guard:
            return next(reader.path for reader in self._readers.values() if reader.key == item.run)

    def span_counts(self) -> dict[str, int]:
        """Item id -> how many spans it carries, of those that carry any. A log that cannot be read counts for none
        here; opening one of its items says why.
        """
        counts: dict[tuple[str, str], int] = {}
        with self._guard:
            for reader in self._readers.values():
                try:
                    if reader.path not in self._logs:
                        self._logs[reader.path] = SpanLog(reader.path / LOG_NAME)
                    spans = self._logs[reader.path]
                    counts |= {(reader.key, key): len(spans.spans(key)) for key in spans.rollouts()}
                except (WovrError, OSError) as error:
                    log.warning("%s: its annotations cannot be read: %s", reader.path, error)
            pairs = ((item.id, counts.get((item.run, item.span_key), 0)) for item in self._items.values())
            return {item_id: count for item_id, count in pairs if count}

    def look_again(self) -> None:
        """Forget when the disk was looked at."""
        with self._guard:
            self._looked = float("-inf")

    def _look(self) -> None:
        if time.monotonic() - self._looked < self.config.seconds:
            return
        folders, self._problems = find_runs(self.config)
        self._readers = {path: self._readers.get(path) or RunReader(key, path) for path, key in folders.items()}
        items: dict[str, Item] = {}
        for path, reader in self._readers.items():
            try:
                items |= {item.id: item for item in reader.items()}
            except (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                self._problems.append(RunProblem(reader.key, str(error) or type(error).__name__))
                log.warning("%s cannot be shown: %s", path, error)
        self._items = items
        self._pictures = {item.stamp: item for item in items.values()}
        self._looked = time.monotonic()


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


def newest(recipe: str | None = None, runs: Path | None = None) -> Path | None:
    """The newest run below $WOVR_HOME/runs that has anything finished, of one recipe if one is named."""
    for path in find_runs(CatalogueConfig(runs=runs or wovr_home() / "runs"))[0]:
        try:
            data = RunData(path)
        except (WovrError, OSError, KeyError, TypeError, ValueError):
            continue
        if data.stages and (recipe is None or data.description.get("recipe") == recipe):
            return path
    return None


def _runs_in(folder: Path) -> Sequence[Path]:
    return [path.parent for path in folder.glob("*/run.json")] if folder.is_dir() else []


def _age(path: Path) -> tuple[float, str]:
    return -(path / "run.json").stat().st_mtime, path.name
