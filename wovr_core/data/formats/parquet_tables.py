"""Parquet tables of somebody else: small ones, whose columns are checked, and pictures that lie in their cells."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import MAX_ARRAY_BYTES, MAX_SIDE, ForeignFileError, require
from wovr_core.errors import MissingDependencyError
from wovr_core.types import Frames

MAX_BYTES = 64 << 20
"""Of a file that is read whole."""


def _arrow() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("LeRobot datasets need pyarrow: pip install 'wovr-workbench[data]'") from error
    return parquet


def column_names(path: Path) -> list[str]:
    """Of a file, without reading its rows. Raises ForeignFileError."""
    try:
        return [str(name) for name in _arrow().read_schema(path).names]
    except (OSError, ValueError, TypeError, NotImplementedError, MemoryError) as error:
        raise ForeignFileError(f"{path.name} is no parquet file, or a damaged one ({str(error)[:100]})") from error


def read_table(path: Path, keep: Callable[[str], bool] | None) -> Any:
    """A whole small table; `keep` chooses columns by name (None: all). Raises ForeignFileError."""
    names = [name for name in column_names(path) if keep is None or keep(name)]
    require(path.stat().st_size <= MAX_BYTES, path.name, "is too large")
    try:
        return _arrow().ParquetFile(path).read(columns=names, use_threads=False)
    except (OSError, ValueError, TypeError, NotImplementedError, MemoryError) as error:
        raise ForeignFileError(f"{path.name} is no parquet file, or a damaged one ({str(error)[:100]})") from error


def column(table: Any, name: str, where: str) -> np.ndarray:
    """(rows,) numbers or flags. Raises ForeignFileError, which begins with `where`."""
    values = np.array(table[name].to_pylist())
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    require(values.ndim == 1 and values.dtype.kind in "fiub", where, f"has a column {name!r} of {values.dtype}")
    return values


def matrix(table: Any, name: str, where: str) -> np.ndarray:
    """(rows, n) float32, of lists that are all of one length. Raises ForeignFileError."""
    rows = table[name].to_pylist()
    good = all(isinstance(r, list) and len(r) <= 64 and all(isinstance(v, int | float) for v in r) for r in rows)
    require(good and len({len(r) for r in rows}) == 1, where, f"has {name!r} that is no table of numbers")
    return np.array(rows, dtype=np.float32)


def pictures(cells: list[Any], where: str) -> Frames:
    """(rows, H, W, 3) of cells that hold PNG or JPEG files. Raises ForeignFileError."""
    from PIL import Image

    frames: list[np.ndarray] = []
    for i, cell in enumerate(cells):
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise ForeignFileError(f"{where} has no picture in row {i}")
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                require(max(image.size) <= MAX_SIDE, where, f"has pictures of {image.size}")
                require(len(cells) * image.width * image.height * 3 <= MAX_ARRAY_BYTES, where, "has too many pictures")
                frames.append(np.array(image.convert("RGB"), dtype=np.uint8))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ForeignFileError(f"{where} has a damaged picture in row {i} ({str(error)[:100]})") from error
        require(frames[i].shape == frames[0].shape, where, f"has a picture of another size in row {i}")
    return np.stack(frames)
