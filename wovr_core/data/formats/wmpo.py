"""WMPO's tars (read): samples of `video.npy` u8 (T, H, W, 3), `action.npy` f32 (T, 7) and `meta.json`.

Row t of the actions was executed at picture t; `finish_step` is where the episode ended, `complete` whether it
was solved there. Nothing is unpacked to disk.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import MAX_EPISODES, Clip, ForeignFileError, check_clip, require
from wovr_core.data.formats.restricted import MAX_FILE_BYTES, load_npy

_PARTS = ("video.npy", "action.npy", "meta.json")


class WMPOReader:
    """A tar, or a folder with tars at any depth."""

    def __init__(self, path: Path) -> None:
        self.root = path if path.is_dir() else path.parent
        found = sorted(path.rglob("*.tar")) if path.is_dir() else [path]
        require(bool(found), path, "holds no .tar file")
        self._samples: dict[str, tuple[Path, dict[str, tuple[int, int]]]] = {}
        for file in found:
            self._list(file)
        require(bool(self._samples), path, f"holds no samples of {', '.join(_PARTS)}")

    def _list(self, file: Path) -> None:
        name = str(file.relative_to(self.root))
        samples: dict[str, dict[str, tuple[int, int]]] = {}
        size = file.stat().st_size
        try:
            with tarfile.open(file, "r:") as archive:
                for member in archive:
                    stem, _, part = member.name.rpartition("/")[2].partition(".")
                    if member.isreg() and not member.issparse() and part in _PARTS:
                        inside = member.offset_data >= 0 and member.offset_data + member.size <= size
                        require(inside, f"{name}:{member.name[:80]!r}", "reaches past the end of the tar")
                        samples.setdefault(stem, {})[part] = (member.offset_data, member.size)
                    require(len(samples) <= MAX_EPISODES, name, "has too many samples")
        except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as error:
            raise ForeignFileError(f"{name} is no tar, or a damaged one ({str(error)[:100]})") from error
        for stem, parts in samples.items():
            missing = [part for part in _PARTS if part not in parts]
            require(not missing, f"{name}/{stem[:80]}", f"lacks {', '.join(missing)}")
            self._samples[f"{name}/{stem}"] = (file, parts)

    def keys(self) -> list[str]:
        return list(self._samples)

    def read(self, key: str) -> Clip:
        file, parts = self._samples[key]
        frames = load_npy(_bytes(file, parts["video.npy"], key), f"{key}.video.npy")
        actions = load_npy(_bytes(file, parts["action.npy"], key), f"{key}.action.npy")
        meta = _meta(_bytes(file, parts["meta.json"], key), key)
        numbers = actions.dtype.kind == "f" and actions.ndim == 2
        require(numbers, key, f"has actions {actions.dtype} of shape {actions.shape}, not (T, 7)")
        require(frames.dtype == np.uint8 and frames.ndim == 4, key, f"has pictures {frames.dtype} {frames.shape}")
        try:
            finish = int(meta.get("finish_step", len(frames) - 1))
        except (TypeError, ValueError, OverflowError) as error:
            raise ForeignFileError(f"{key} has the finish_step {str(meta['finish_step'])[:40]!r}") from error
        require(0 <= finish <= len(frames), key, f"has its finish_step {finish} outside of its {len(frames)} pictures")
        count = min(len(frames), finish + 1)
        clip = Clip(
            key=key,
            frames=frames[:count],
            actions=actions[:count].astype(np.float32),
            instruction=_text(meta, "instruction") or _text(meta, "task_description") or _text(meta, "language"),
            suite=_text(meta, "suite"),
            success=count - 1 if meta.get("complete") is True or meta.get("complete") == 1 else -1,
            file=str(file.relative_to(self.root)),
            info={"unique_id": _text(meta, "unique_id")},
        )
        return check_clip(clip)


def _bytes(file: Path, place: tuple[int, int], where: str) -> bytes:
    offset, size = place
    require(size <= MAX_FILE_BYTES, where, f"is larger than {MAX_FILE_BYTES >> 20} MB")
    with file.open("rb") as archive:
        archive.seek(offset)
        return archive.read(size)


def _meta(data: bytes, where: str) -> dict[str, Any]:
    try:
        meta = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"{where}.meta.json is not JSON ({str(error)[:100]})") from error
    require(isinstance(meta, dict), f"{where}.meta.json", "is no object")
    return dict(meta)


def _text(meta: dict[str, Any], name: str) -> str:
    value = meta.get(name, "")
    return value[:500] if isinstance(value, str) else str(value)[:100] if isinstance(value, int) else ""
