"""Notebook widgets.

from workbench.widgets import Gallery, JobWatch, Launch, Scrubber, Steering
Scrubber(rollout, real=episode, log="annotations.jsonl")
Gallery(run="demo")
Launch(recipe="demo", kind="sft")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.widgets.gallery import Gallery
    from workbench.widgets.launch import JobWatch, Launch
    from workbench.widgets.scrubber import Scrubber
    from workbench.widgets.steering import Steering

LAUNCH_FILES = {suffix: Path(__file__).parent / f"launch{suffix}" for suffix in (".js", ".css")}
"""The launch form and the job panel, which the app's page Train shows too."""

__all__ = ["LAUNCH_FILES", "Gallery", "JobWatch", "Launch", "Scrubber", "Steering"]

_MODULES = {
    "Gallery": "gallery", "JobWatch": "launch", "Launch": "launch", "Scrubber": "scrubber", "Steering": "steering",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Each widget on its own: the app, which needs none of them, runs without anywidget."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"workbench.widgets.{_MODULES[name]}"), name)
