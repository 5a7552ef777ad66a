"""Formats of others, one file each: what is read from them, and what is written for them.

`open_reader` parses in this process; commands and the doctor use `sandbox.SandboxedReader`, which gives the same
from another one.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from wovr_core.data.formats.base import EpisodeReader
from wovr_core.errors import UnknownNameError

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
        ForeignFileError: the source is not of it.
    """
    if name not in READERS:
        raise UnknownNameError("format", name, READERS)
    module, kind = READERS[name]
    reader: EpisodeReader = getattr(importlib.import_module(module), kind)(path, **options)
    return reader


def guess_format(path: Path) -> str:
    """The format of a source by what lies there; "" if nothing tells."""
    folder = path if path.is_dir() else path.parent
    if (folder / "meta" / "info.json").is_file():
        return "lerobot"
    names = [path.name] if path.is_file() else [p.name for p in sorted(folder.rglob("*"))[:1000]]
    endings = {".hdf5": "libero", ".h5": "libero", ".tar": "wmpo", ".npy": "rlinf", ".safetensors": "wovr"}
    return next((kind for ending, kind in endings.items() if any(n.endswith(ending) for n in names)), "")
