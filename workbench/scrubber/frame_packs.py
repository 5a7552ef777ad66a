"""Frame packs: images one behind the other with a table of offsets, so that frame k is found by index alone.

Video is no substitute: seeking an mp4 by time showed the wrong frame in most seeks that were tried.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.types import Frames

Codec = Literal["auto", "webp", "webp-lossless", "jpeg"]

_MIME: dict[str, str] = {"webp": "image/webp", "webp-lossless": "image/webp", "jpeg": "image/jpeg"}
_DEFAULT_QUALITY: dict[str, int] = {"webp": 90, "webp-lossless": 20, "jpeg": 85}
_WEBP_METHOD = 0  # the fastest search: up to a quarter more bytes than the default, in a third to a tenth of its time
_LOSSLESS_UP_TO = 96  # pixels; small frames are enlarged so much that a codec's faults would look like the model's


class FramePackError(WovrError):
    """Frames that cannot be packed, or a pack whose table does not fit its bytes."""


@dataclass(frozen=True)
class FramePack:
    """N encoded images of one size."""

    data: bytes
    offsets: tuple[int, ...]
    """(N+1,): image k is data[offsets[k]:offsets[k + 1]]."""
    mime: str
    height: int
    width: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.offsets, self.offsets[1:], strict=False))
        if not self.offsets or self.offsets[0] != 0 or self.offsets[-1] != len(self.data) or not ascending:
            raise FramePackError("the pack's offsets must rise from 0 to its length")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def key(self) -> str:
        """Sha-256 of the bytes, in hexadecimal: a name under which a browser may keep it for ever."""
        return hashlib.sha256(self.data).hexdigest()

    def image(self, k: int) -> bytes:
        """The encoded image of frame k."""
        if not 0 <= k < len(self):
            raise FramePackError(f"frame {k} is outside of this pack of {len(self)} frames")
        return self.data[self.offsets[k] : self.offsets[k + 1]]


def pack(frames: Frames, codec: Codec = "auto", quality: int | None = None) -> FramePack:
    """Encodes frames (N, H, W, 3) u8 one by one.

    "auto" is "webp-lossless" for sides up to 96 pixels and "webp" above.

    `quality` is 0-100: of the picture for "webp" (90) and "jpeg" (85), of the effort for "webp-lossless" (20).

    Raises:
        FramePackError: wrong shape or dtype, no frames, unknown codec, quality out of range.
    """
    if codec not in get_args(Codec):
        raise FramePackError(f"unknown codec {codec!r}; known: {', '.join(get_args(Codec))}")
    _check(frames)
    if codec == "auto":
        codec = "webp-lossless" if max(frames.shape[1:3]) <= _LOSSLESS_UP_TO else "webp"
    quality = _DEFAULT_QUALITY[codec] if quality is None else quality
    if not 0 <= quality <= 100:
        raise FramePackError(f"quality must lie in 0-100, not {quality}")
    # Pillow lets go of the interpreter lock while it encodes, so threads help.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        images = list(pool.map(lambda frame: _encode(frame, codec, quality), frames))
    offsets = np.concatenate([[0], np.cumsum([len(image) for image in images])])
    height, width = frames.shape[1:3]
    return FramePack(b"".join(images), tuple(int(o) for o in offsets), _MIME[codec], height, width)


def unpack(packed: FramePack) -> Frames:
    """Decodes a whole pack: (N, H, W, 3) u8."""
    return np.stack([_decode(packed.image(k)) for k in range(len(packed))])


def _check(frames: npt.NDArray[np.uint8]) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise FramePackError(f"frames must be u8 (N, H, W, 3), not {frames.dtype} {frames.shape}")
    if 0 in frames.shape:
        raise FramePackError(f"there is nothing to pack in frames of shape {frames.shape}")


def _encode(frame: npt.NDArray[np.uint8], codec: Codec, quality: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(frame))
    if codec == "jpeg":
        image.save(out, "JPEG", quality=quality, subsampling=0)  # thin grippers lose their colour otherwise
    else:
        image.save(out, "WEBP", quality=quality, lossless=codec == "webp-lossless", method=_WEBP_METHOD)
    return out.getvalue()


def _decode(image: bytes) -> npt.NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
