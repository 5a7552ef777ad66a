"""Read the .wandb file of an offline run: what it holds already is not sent again.

The file is a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind a header
of seven bytes: blocks of 32 KiB of records (checksum u32, length u16, type u8), each the piece of one message. The
file of a process that was killed ends anywhere; what is whole before that counts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MAGIC = b":W&B"
_HEADER = 7
_BLOCK = 32 * 1024
_RECORD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def messages(path: Path) -> Iterator[bytes]:
    """The whole messages, serialised `Record`s of wandb's protocol. Ends quietly at the first that is not whole."""
    data = path.read_bytes()
    if data[:4] != _MAGIC:
        return
    position, parts = _HEADER, b""
    while position + _RECORD.size <= len(data):
        room = _BLOCK - position % _BLOCK
        if room < _RECORD.size:  # the block's end is padding
            position += room
            continue
        _, length, kind = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        piece = data[position : position + length]
        if not _FULL <= kind <= _LAST or len(piece) < length:
            return
        position += length
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts


def records(path: Path) -> Iterator[Any]:
    """wandb_internal_pb2.Record, one after the other. Needs wandb."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    kind: Any = wandb_internal_pb2

    for message in messages(path):
        record = kind.Record()
        try:
            record.ParseFromString(message)
        except DecodeError:
            return
        yield record


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that `run.log` wrote, with `_step` among the keys."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
            row.setdefault("_step", record.history.step.num)
            rows.append(row)
    return rows
