"""The layer under `episode_files`: one safetensors file of named arrays, with our metadata in its header.

Metadata are JSON under "wovr". Arrays that "encoded" describes are stored by `array_codecs`; format 1 had none
and is read as before. A file is written atomically; whatever is wrong with one is a CorruptFileError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wovr_core.data.array_codecs import Array, DecodeError, decode
from wovr_core.errors import CorruptFileError
from wovr_core.files import write_bytes
from wovr_core.types import ACTION_DIM, FPS, PICTURE_CONVENTION

SCHEMA = 2
Kind = Literal["episode", "rollout"]
Layout = Mapping[str, tuple[Any, int, bool]]
"""Array name -> (dtype, rank, whether it must be there)."""

_READABLE = (1, 2)
_META = "wovr"
_META_KEYS = {
    "episode": {"id", "suite", "task", "instruction", "seed", "source", "length", "succeeded", "info"},
    "rollout": {
        "id", "suite", "task", "instruction", "start", "group_id", "sampler_seed", "reward", "versions", "info",
        "imagined_success",
    },
}  # fmt: skip


def write_file(path: Path, arrays: Mapping[str, Any], meta: dict[str, Any]) -> Path:
    """Write the arrays that are not None, and `meta` with what every file of ours says."""
    present = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}
    meta |= {
        "schema": SCHEMA,
        "fps": FPS,
        "frame_stride": 1,
        "picture_convention": PICTURE_CONVENTION,
    }
    write_bytes(path, save(present, metadata={_META: json.dumps(meta, sort_keys=True)}))
    return path


@dataclass(frozen=True)
class TensorFile:
    """An open file of ours."""

    meta: dict[str, Any]
    names: frozenset[str]
    """Of the arrays in it, encoded or not."""
    stored: Callable[[str], Array]
    """A tensor as it is stored, by name."""

    def array(self, name: str) -> Array:
        """An array as it was before it was stored. Raises DecodeError, which `open_file` explains."""
        description = self.meta["encoded"].get(name)
        return self.stored(name) if description is None else decode(name, description, self.stored)


@contextmanager
def open_file(path: Path, kind: Kind) -> Iterator[TensorFile]:
    """CorruptFileError for all that is wrong with the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = _parse_meta(path, file.metadata() or {}, kind)
            yield TensorFile(meta, frozenset(file.keys()) | frozenset(meta["encoded"]), file.get_tensor)
    except (SafetensorError, OSError, DecodeError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); delete it and run the stage that wrote it again"
        ) from error


def _parse_meta(path: Path, header: Mapping[str, str], kind: Kind) -> dict[str, Any]:
    try:
        meta = json.loads(header[_META])
        schema, found = meta["schema"], meta["type"]
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{path} has no wovr metadata; it is not one of our {kind} files") from error
    expect(path, schema in _READABLE, f"has format {schema}, this version reads {' and '.join(map(str, _READABLE))}")
    expect(path, found == kind, f"holds a {found}, not a {kind}")
    meta = {"encoded": {}, "streams": [], **meta}
    missing = _META_KEYS[kind] - meta.keys()
    expect(path, not missing, f"says nothing about {', '.join(sorted(missing))}")
    names = meta["streams"]
    known = isinstance(meta["encoded"], dict) and isinstance(names, list) and all(isinstance(n, str) for n in names)
    expect(path, known, "describes its arrays in a way that this version does not know")
    return dict(meta)


def read_arrays(path: Path, kind: Kind, layout: Layout) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of the layout that the file has, and its metadata. CorruptFileError for what does not fit."""
    arrays = {}
    with open_file(path, kind) as file:
        for name, (dtype, rank, required) in layout.items():
            if name not in file.names:
                expect(path, not required, f"lacks the tensor {name!r}")
                continue
            array = arrays[name] = file.array(name)
            right = array.dtype == dtype and array.ndim == rank
            expect(path, right, f"has {name!r} as {array.dtype} of rank {array.ndim}, not {dtype.__name__} of {rank}")
    expect(path, arrays["actions"].shape[1] == ACTION_DIM, f"has actions of {arrays['actions'].shape[1]} numbers")
    expect(path, arrays["frames"].shape[-1] == 3, "has frames that are not RGB")
    return arrays, file.meta


def expect(path: Path, condition: bool, otherwise: str) -> None:
    """CorruptFileError that says `otherwise` of the file unless the condition holds."""
    if not condition:
        raise CorruptFileError(f"{path} {otherwise}; delete it and run the stage that wrote it again")
