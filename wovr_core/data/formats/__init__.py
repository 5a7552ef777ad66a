"""Formats of others, one file each: what is read from them, and what is written for them.

`open_reader` parses in this process; commands and the doctor use `sandbox.SandboxedReader`, which gives the same
from another one.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wovr_core import plugins
from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from wovr_core.data.formats.base import EpisodeReader

READERS = {
    "libero": ("wovr_core.data.formats.libero_hdf5", "LiberoReader"),
    "lerobot": ("wovr_core.data.formats.lerobot", "LeRobotReader"),
    "wmpo": ("wovr_core.data.formats.wmpo", "WMPOReader"),
    "rlinf": ("wovr_core.data.formats.rlinf_dataset", "RLinfReader"),
    "wovr": ("wovr_core.data.formats.own", "OwnReader"),
}
"""Name -> (module, class)."""


def open_reader(name: str, path: Path, **options: Any) -> EpisodeReader:
    """A reader of this format.

    Raises:
        UnknownNameError: there is no such format.
        PluginError: it is a plug-in's, which cannot be used.
        ForeignFileError: the source is not of it.
    """
    if name in READERS:
        module, kind = READERS[name]
        make = getattr(importlib.import_module(module), kind)
    else:
        plugins.find(plugins.FORMATS, name, READERS)
        make = plugins.load(plugins.FORMATS, name, type)
    reader: EpisodeReader = make(path, **options)
    return reader


def names() -> list[str]:
    """Formats that can be read: ours, then those that plug-ins bring."""
    return list(dict.fromkeys([*READERS, *(info.name for info in plugins.installed(plugins.FORMATS))]))


def import_path(name: str) -> str:
    """The folder from which a plug-in's format is imported; "" for ours."""
    return "" if name in READERS else plugins.find(plugins.FORMATS, name, READERS).folder()


def guess_format(path: Path) -> str:
    """The format of a source by what lies there; "" if nothing tells. Raises WovrError where nothing is."""
    if not path.exists():
        raise WovrError(f"there is nothing at {path}")
    folder = path if path.is_dir() else path.parent
    if (folder / "meta" / "info.json").is_file():
        return "lerobot"
    there = [path.name] if path.is_file() else [p.name for p in sorted(folder.rglob("*"))[:1000]]
    endings = {".hdf5": "libero", ".h5": "libero", ".tar": "wmpo", ".npy": "rlinf", ".safetensors": "wovr"}
    return next((kind for ending, kind in endings.items() if any(name.endswith(ending) for name in there)), "")
