"""Lossless codecs for arrays whose first axis is time, such as an episode's pictures.

- "delta": each instant XOR the one before, its bytes sorted by significance, then zlib. A camera that stands
  still leaves most of it zero: some 6 % of raw for colours, depth and object masks alike, bit for bit.
- "webp": lossless WebP for each picture by itself, 25 to 40 % of raw; for colours of a moving camera.
- "raw": as it is.
- "auto": delta; where that takes more than a quarter of raw, WebP too (u8 pictures), and the smaller of the
  two; raw where neither saves a tenth.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from wovr_core.errors import UnknownNameError, WovrError

Codec = Literal["auto", "delta", "webp", "raw"]
Array = npt.NDArray[Any]
ByteArray = npt.NDArray[np.uint8]

_DELTA_ALONE = 0.25
_WORTH_IT = 0.9
_DTYPES = ("bool", "uint8", "uint16", "uint32", "int32", "int64", "float32", "float64")


class DecodeError(ValueError):
    """What was stored cannot be turned back into the array that its description promises."""


def check_codec(codec: str) -> None:
    """Raise UnknownNameError unless it is one of ours."""
    if codec not in get_args(Codec):
        raise UnknownNameError("codec", codec, get_args(Codec))


def encode(name: str, array: Array, codec: Codec = "auto") -> tuple[dict[str, Array], dict[str, Any] | None]:
    """Tensors to store for `array`, and how to read them.

    Args:
        name: of the array; the tensors' names begin with it.
        array: (T, ...).
    Returns:
        tensors by name, and a JSON description for `decode`, or None if the tensor is the array itself.
    Raises:
        WovrError: WebP for something that is no (T, H, W, 3) u8.
    """
    check_codec(codec)
    array = np.ascontiguousarray(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # the description does not tell byte orders
    pictures = array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3 and array.size > 0
    if codec == "webp" and not pictures:
        raise WovrError(f"{name}: WebP holds colour pictures u8 (T, H, W, 3), not {array.dtype} {array.shape}")
    if codec == "raw" or array.size == 0 or array.dtype.name not in _DTYPES:
        return {name: array}, None
    found: dict[str, dict[str, Array]] = {}
    if codec in ("auto", "delta"):
        found["delta"] = {f"{name}_delta": _delta(array)}
    if codec == "webp" or (codec == "auto" and pictures and _size(found["delta"]) > _DELTA_ALONE * array.nbytes):
        found["webp"] = _webp(name, array)
    chosen = min(found, key=lambda kind: _size(found[kind]))
    if codec == "auto" and _size(found[chosen]) > _WORTH_IT * array.nbytes:
        return {name: array}, None
    return found[chosen], {"codec": chosen, "dtype": array.dtype.name, "shape": list(array.shape)}


def decode(name: str, description: Mapping[str, Any], tensor: Callable[[str], Array]) -> Array:
    """The array again, to the bit.

    Args:
        tensor: gives a stored tensor by name.
    Raises:
        DecodeError: description and tensors do not fit together.
    """
    try:
        codec, dtype = description["codec"], description["dtype"]
        shape = tuple(int(n) for n in description["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"{name!r} is not described ({error})") from error
    if dtype not in _DTYPES or not shape or min(shape) < 1:
        raise DecodeError(f"{name!r} is described as {dtype} {shape}")
    if codec == "delta":
        return _undo_delta(name, tensor(f"{name}_delta"), np.dtype(dtype), shape)
    if codec == "webp" and dtype == "uint8" and len(shape) == 4 and shape[-1] == 3:
        return _undo_webp(name, tensor(f"{name}_webp"), tensor(f"{name}_offsets"), shape)
    raise DecodeError(f"{name!r} is stored as {codec!r}, which this version cannot read")


def _size(tensors: Mapping[str, Array]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _delta(array: Array) -> ByteArray:
    words = array.view(np.dtype(f"u{array.itemsize}"))
    change = words.copy()
    change[1:] ^= words[:-1]
    # (itemsize, ...): all the highest bytes, then all the next ones, and so on
    planes = np.moveaxis(change.view(np.uint8).reshape(*array.shape, array.itemsize), -1, 0)
    return np.frombuffer(zlib.compress(planes.tobytes(), 1), dtype=np.uint8)


def _undo_delta(name: str, stored: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    reader = zlib.decompressobj()
    try:
        # One byte more than there may be: a forged stream does not fill the memory.
        data = reader.decompress(stored.tobytes(), size + 1)
    except (zlib.error, OverflowError, MemoryError) as error:
        raise DecodeError(f"{name!r} is damaged ({error})") from error
    if len(data) != size or not reader.eof:
        raise DecodeError(f"{name!r} does not hold the {size} bytes of {dtype} {shape}")
    planes = np.frombuffer(data, dtype=np.uint8).reshape(dtype.itemsize, *shape)
    words = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(np.dtype(f"u{dtype.itemsize}")).reshape(shape)
    words = words if words.flags.writeable else words.copy()
    for t in range(1, len(words)):  # ten times as fast as numpy's accumulate along the first axis
        words[t : t + 1] ^= words[t - 1 : t]
    return words.view(dtype)


def _webp(name: str, pictures: ByteArray) -> dict[str, Array]:
    from PIL import Image

    parts = []
    for picture in pictures:
        buffer = io.BytesIO()
        # The least effort: ten times the time buys a twentieth of the size.
        Image.fromarray(picture).save(buffer, "WEBP", lossless=True, quality=0, method=0, exact=True)
        parts.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return {f"{name}_webp": np.frombuffer(b"".join(parts), dtype=np.uint8), f"{name}_offsets": offsets}


def _undo_webp(name: str, stored: Array, offsets: Array, shape: tuple[int, ...]) -> ByteArray:
    from PIL import Image

    count, height, width, _ = shape
    if offsets.dtype != np.int64 or offsets.shape != (count + 1,) or offsets[0] != 0 or offsets[-1] != stored.size:
        raise DecodeError(f"{name!r} has offsets that do not fit its pictures")
    data, pictures = stored.tobytes(), []
    for begin, end in pairwise(offsets.tolist()):
        try:
            with Image.open(io.BytesIO(data[begin:end]), formats=("WEBP",)) as image:
                if image.size != (width, height):
                    raise DecodeError(f"{name!r} holds a picture of {image.size}, not {(width, height)}")
                pictures.append(np.array(image.convert("RGB"), dtype=np.uint8))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DecodeError(f"{name!r} holds a damaged picture ({error})") from error
    return np.stack(pictures)
