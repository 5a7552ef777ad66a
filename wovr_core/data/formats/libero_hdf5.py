"""LIBERO's demonstrations in HDF5, and OpenVLA's `no_noops` edition of them (read).

Both hold, per `data/demo_i`, as many pictures as actions, in robosuite's raw (upside-down) orientation. They
differ in time: LIBERO's own files show the state *after* the action of the same row (its script steps, then
records), the no_noops files the state *before* it. LIBERO's own are told by their attributes.

To be used inside the sandbox: links out of the file, external and virtual storage are refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import MAX_ARRAY_BYTES, Clip, Conventions, ForeignFileError, check_clip, require
from wovr_core.errors import MissingDependencyError
from wovr_core.types import ACTION_DIM, FPS

SUFFIXES = (".hdf5", ".h5")
_DEMO = re.compile(r"demo_(\d{1,7})")
_SCENE = re.compile(r"^[A-Z_0-9]*SCENE\d+_")
_MAIN, _WRIST = "agentview_rgb", "eye_in_hand_rgb"
_SUITE = re.compile(r"libero_(?:spatial|object|goal|10|90)")


class LiberoReader:
    """A file, or a folder with files at any depth."""

    def __init__(self, path: Path) -> None:
        self.root = path if path.is_dir() else path.parent
        found = sorted(p for s in SUFFIXES for p in path.rglob(f"*{s}")) if path.is_dir() else [path]
        require(bool(found), path, "holds no .hdf5 file")
        self._demos: dict[str, tuple[Path, str]] = {}
        for file in found:
            name = str(file.relative_to(self.root))
            with _open(file) as data:
                group = _group(data, "data", name)
                demos = [demo for demo in group if _DEMO.fullmatch(demo)]
                for demo in sorted(demos, key=lambda demo: int(demo[5:])):
                    self._demos[f"{name}/{demo}"] = (file, demo)
        require(bool(self._demos), path, "holds no data/demo_0")

    def keys(self) -> list[str]:
        return list(self._demos)

    def read(self, key: str) -> Clip:
        file, demo = self._demos[key]
        name = str(file.relative_to(self.root))
        with _open(file) as data:
            group = _group(data, "data", name)
            episode = _group(group, demo, key)
            seen = _group(episode, "obs", key)
            actions = _array(episode, "actions", key)
            require(actions.ndim == 2 and actions.shape[1] == ACTION_DIM and actions.dtype.kind == "f", key,
                    f"has actions {actions.dtype} of shape {actions.shape}, not (T, 7)")  # fmt: skip
            streams = {"wrist": _array(seen, _WRIST, key)} if _WRIST in seen else {}
            original = "problem_info" in group.attrs
            clip = Clip(
                key=key,
                frames=_array(seen, _MAIN, key),
                actions=actions.astype(np.float32),
                instruction=_instruction(group, file),
                suite=_suite(group, file),
                success=_success(episode, key),
                fps=float(FPS),
                conventions=Conventions(rotate=True, shift_actions=int(original)),
                streams=streams,
                file=name,
                info={"layout": "LIBERO" if original else "no_noops"},
            )
        return check_clip(clip)


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("reading HDF5 needs h5py: pip install 'wovr-workbench[data]'") from error
    try:
        return h5py.File(path, "r", locking=False)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ForeignFileError(f"{path.name} is no HDF5 file, or a damaged one ({str(error)[:100]})") from error


def _child(group: Any, name: str, where: str) -> Any:
    import h5py

    require(isinstance(group.get(name, getlink=True), h5py.HardLink), where, f"has no {name!r} of its own")
    return group[name]


def _group(group: Any, name: str, where: str) -> Any:
    import h5py

    child = _child(group, name, where)
    require(isinstance(child, h5py.Group), where, f"has a {name!r} that is no group")
    return child


def _array(group: Any, name: str, where: str) -> np.ndarray:
    import h5py

    child = _child(group, name, where)
    require(isinstance(child, h5py.Dataset), where, f"has a {name!r} that is no array")
    require(not child.external and not child.is_virtual, where, f"has {name!r} in another file: that is not followed")
    require(child.dtype.kind in "uifb" and child.shape is not None, where, f"has {name!r} as {child.dtype}")
    require(child.size * child.dtype.itemsize <= MAX_ARRAY_BYTES, where, f"has a {name!r} of shape {child.shape}")
    return np.asarray(child[()])


def _text(group: Any, name: str) -> str:
    value = group.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _instruction(group: Any, file: Path) -> str:
    try:
        known = json.loads(_text(group, "problem_info"))["language_instruction"]
        return " ".join(known) if isinstance(known, list) else str(known)
    except (ValueError, KeyError, TypeError, RecursionError):
        return _SCENE.sub("", file.stem.removesuffix("_demo")).replace("_", " ").strip()


def _suite(group: Any, file: Path) -> str:
    for text in (_text(group, "bddl_file_name"), str(file)):
        found = _SUITE.findall(text)
        if found:
            return str(found[-1])
    return ""


def _success(episode: Any, where: str) -> int:
    """The row at which the task was solved. Both editions hold successes alone and mark their last row."""
    for name in ("rewards", "dones"):
        if name in episode:
            flags = _array(episode, name, where).reshape(-1)
            if (flags > 0).any():
                return int((flags > 0).argmax())
    return -1
