"""What the scrubber is handed, with its packed frames: made when an item is first opened, kept under WOVR_HOME/cache.

A kept payload is one file: the length of a JSON header (8 bytes, big endian), the header, the packs' bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import wovr_core
from workbench.catalogue.opening import payload_of
from workbench.scrubber.frame_packs import FramePack, FramePackError
from workbench.scrubber.payload import Payload
from workbench.scrubber.spans import LABELS
from workbench.store.file_cache import FileCache
from workbench.store.items import Item
from wovr_core.errors import CorruptFileError
from wovr_core.files import wovr_home

BUDGET = 1024 * 1024 * 1024
"""Bytes of packed frames that are kept, the latest used."""
_VERSION = 1
"""Change it with what payload_of makes."""


class Payloads:
    """The payloads' cache. Safe for several threads."""

    def __init__(self, folder: Path | None = None, budget: int = BUDGET) -> None:
        self._cache = FileCache(folder or wovr_home() / "cache" / "packs", budget)

    def get(self, item: Item) -> Payload:
        """Raises CorruptFileError when the item's files cannot be read."""
        if item.broken:
            raise CorruptFileError(item.broken)
        key = _key(item)
        try:
            return unpack_payload(self._cache.get(key, lambda: pack_payload(payload_of(item))))
        except CacheFileError:
            return payload_of(item)  # damaged on the disk, or cut short


class CacheFileError(CorruptFileError):
    """A kept payload that cannot be read."""


def pack_payload(payload: Payload) -> bytes:
    """As bytes; `unpack_payload` gives it back."""
    packs = {
        name: {"offsets": pack.offsets, "mime": pack.mime, "height": pack.height, "width": pack.width}
        for name, pack in payload.packs.items()
    }
    data = b"".join(pack.data for pack in payload.packs.values())
    header = json.dumps({"meta": payload.meta, "packs": packs, "sha256": hashlib.sha256(data).hexdigest()}).encode()
    return len(header).to_bytes(8, "big") + header + data


def unpack_payload(kept: bytes) -> Payload:
    """Raises CacheFileError."""
    length = int.from_bytes(kept[:8], "big")
    try:
        header = json.loads(kept[8 : 8 + length])
        data = kept[8 + length :]
        if hashlib.sha256(data).hexdigest() != header["sha256"]:
            raise CacheFileError("a kept payload is damaged")
        packs, start = {}, 0
        for name, pack in header["packs"].items():
            offsets = tuple(pack["offsets"])
            part = data[start : start + offsets[-1]]
            packs[name] = FramePack(part, offsets, pack["mime"], pack["height"], pack["width"])
            start += offsets[-1]
        return Payload(header["meta"], packs)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, FramePackError) as error:
        raise CacheFileError(f"a kept payload cannot be read ({error})") from error


def _key(item: Item) -> str:
    replay = item.replay.stat() if item.replay else None
    labels = [(label.key, label.title, label.guide) for label in LABELS]
    stamp = (replay.st_mtime_ns, replay.st_size) if replay else None
    parts = [_VERSION, wovr_core.__version__, item.id, item.stamp, stamp, labels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40] + ".pack"
