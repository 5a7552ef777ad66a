"""Send a result from a worker process to its parent with the large arrays in shared memory.

Pickle's protocol 5 hands out the buffers of numpy arrays apart from the rest, wherever in a result they sit
(dataclasses, dicts, tuples); those above a threshold go into one shared block, so a pipe carries only what is
small. The parent names the block beforehand and so can remove it even if the worker dies half-way.

Nothing here touches files: the bytes come from a process that this one started itself.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from wovr_core.errors import WovrError

THRESHOLD = 1 << 16
_ALIGN = 64


@dataclass(frozen=True)
class Parcel:
    """A result on its way: the small part, and where in the block the buffers lie."""

    body: bytes
    block: str | None
    sizes: tuple[int, ...]


def pack(result: Any, block: str, threshold: int = THRESHOLD) -> Parcel:
    """Pickle `result`, its buffers of at least `threshold` bytes into the shared block of this name.

    Raises:
        WovrError: shared memory is full.
    """
    views: list[memoryview] = []

    def out_of_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < threshold:
            return True  # in the body
        views.append(view)
        return False

    body = pickle.dumps(result, protocol=5, buffer_callback=out_of_band)
    if not views:
        return Parcel(body, None, ())
    sizes = tuple(view.nbytes for view in views)
    offsets, total = _offsets(sizes)
    try:
        memory = SharedMemory(block, create=True, size=total)
    except OSError as error:
        raise WovrError(
            f"no shared memory for a result of {total >> 20} MiB ({error.strerror}); "
            "enlarge /dev/shm or use fewer workers"
        ) from error
    try:
        for view, offset in zip(views, offsets, strict=True):
            np.frombuffer(_bytes(memory), np.uint8, view.nbytes, offset)[:] = view
    finally:
        memory.close()
    return Parcel(body, block, sizes)


def unpack(parcel: Parcel) -> Any:
    """The result again, its arrays writable and owned by this process; the block is gone afterwards."""
    if parcel.block is None:
        return pickle.loads(parcel.body)
    memory = SharedMemory(parcel.block)
    try:
        offsets, _ = _offsets(parcel.sizes)
        buffers = [
            np.frombuffer(_bytes(memory), np.uint8, size, offset).copy()
            for size, offset in zip(parcel.sizes, offsets, strict=True)
        ]
    finally:
        memory.close()
        memory.unlink()
    return pickle.loads(parcel.body, buffers=buffers)


def discard(block: str) -> None:
    """Remove a block that may or may not exist."""
    with contextlib.suppress(FileNotFoundError):
        memory = SharedMemory(block)
        memory.close()
        memory.unlink()


def _bytes(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None
    return memory.buf


def _offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // _ALIGN) * _ALIGN
    return offsets, end
