"""Pickled numpy files without pickle's powers: arrays, dict, list, tuple, str, bytes and numbers, nothing else.

No name in the file is ever imported, and none of numpy's own unpickling code runs: what numpy's pickles call is
replaced by stand-ins that note shape, type and bytes, and check them before an array is made.
"""

from __future__ import annotations

import io
import math
import pickle
import tokenize
from typing import Any

import numpy as np

from wovr_core.data.formats.base import MAX_ARRAY_BYTES, ForeignFileError

MAX_FILE_BYTES = 1 << 30
_SCALARS = "?bBhHiIlLqQefdSU"


class RefusedError(ForeignFileError):
    """The file asks for something that data do not need, such as calling a function."""


class _Marker:
    """Stands for numpy.ndarray, which pickles name and only hand on."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise RefusedError("a class cannot be given a state")


class _TypeStandIn:
    """numpy.dtype(name, False, True), then a state with the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, *_: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or len(text) > 16:
            raise RefusedError("an array has a type that is none of numbers or text")
        kind = np.dtype(object) if text in ("O8", "O4", "O") else np.dtype(text)
        if kind.kind != "O" and (kind.char not in _SCALARS or kind.subdtype or kind.names):
            raise RefusedError(f"an array is of type {text!r}; only numbers and text are admitted")
        self.dtype = kind

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise RefusedError("an array's type has a state of another kind")
        if self.dtype.kind != "O" and state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class _ArrayStandIn:
    """An array to be: `array` once its state has come."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("an array has a state of another kind")
        _, shape, kind, fortran, data = state
        self.array = _build(shape, kind, data, "F" if fortran else "C")


def _build(shape: object, kind: object, data: object, order: str) -> np.ndarray:
    if not isinstance(kind, _TypeStandIn):
        raise RefusedError("an array has no type")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise RefusedError("an array has a shape that is none")
    count, dtype = math.prod(shape), kind.dtype
    if dtype.kind == "O":
        if not isinstance(data, list) or len(data) != count or len(shape) != 1:
            raise RefusedError("a list of objects does not have its length, or more than one dimension")
        array = np.empty(count, dtype=object)
        for index, value in enumerate(data):
            array[index] = value
        return array
    if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize or len(data) > MAX_ARRAY_BYTES:
        raise RefusedError(f"an array does not hold the {count} numbers that its shape asks for")
    return np.frombuffer(bytes(data), dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


class _Call:
    """A function that numpy's pickles name; one object for each load, so that nothing can be left behind."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        raise RefusedError("a function cannot be given a state")

    def __call__(self, *arguments: Any) -> object:
        try:
            if self.name == "dtype":
                return _TypeStandIn(*arguments)
            if self.name == "_reconstruct":
                return _ArrayStandIn()
            if self.name == "_frombuffer":
                data, kind, shape, order = arguments
                made = _ArrayStandIn()
                made.array = _build(shape, kind, data, order)
                return made
            if self.name == "scalar":
                kind, data = arguments
                return _build((), kind, data, "C")[()]
            if self.name == "encode":  # how protocols 0-2 hold bytes
                text, encoding = arguments
                if isinstance(text, str) and encoding == "latin1":
                    return text.encode("latin1")
            if self.name == "bytes" and not arguments:
                return b""
            if self.name == "bytearray" and len(arguments) == 1 and isinstance(arguments[0], bytes):
                return arguments[0]
        except RefusedError:
            raise
        except (TypeError, ValueError, UnicodeError) as error:
            raise RefusedError(f"{self.name} is called with the wrong things ({error})") from error
        raise RefusedError(f"{self.name} is called with the wrong things")


_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_KNOWN = {
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("builtins", "bytes"): "bytes",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytearray"): "bytearray",
    **{(module, name): name for module in _ARRAYS for name in ("_reconstruct", "scalar")},
    **{(module, "_frombuffer"): "_frombuffer" for module in ("numpy.core.numeric", "numpy._core.numeric")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _Marker()
        if (module, name) in _KNOWN:
            return _Call(_KNOWN[module, name])
        raise RefusedError(f"the file asks for {module}.{name}; only arrays, lists, text and numbers are admitted")

    def persistent_load(self, pid: object) -> Any:
        raise RefusedError("the file refers to something outside of itself")


def load_pickle(data: bytes, where: str) -> Any:
    """What a pickle of plain data holds; arrays in it are stand-ins, see `resolve`.

    Raises:
        RefusedError: it asks for anything but plain data.
        ForeignFileError: it is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except RefusedError as error:
        raise RefusedError(f"{where}: {error}") from error
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
        MemoryError, RecursionError, ImportError, UnicodeError, SyntaxError,
    ) as error:  # fmt: skip
        raise ForeignFileError(f"{where} is damaged ({type(error).__name__}: {str(error)[:100]})") from error


def resolve(value: Any) -> Any:
    """The array behind a stand-in, anything else as it is; one level only."""
    if isinstance(value, _ArrayStandIn):
        if value.array is None:
            raise RefusedError("an array has no content")
        return value.array
    if isinstance(value, _Call | _Marker | _TypeStandIn):
        raise RefusedError("a function stands where a value belongs")
    return value


def load_npy(data: bytes, where: str) -> np.ndarray:
    """The array of a .npy file, pickled objects included; its elements may be stand-ins, see `resolve`.

    Raises:
        RefusedError: it asks for anything but plain data.
        ForeignFileError: it is damaged, or lies about its size.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ForeignFileError(f"{where} is larger than {MAX_FILE_BYTES >> 20} MB")
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ForeignFileError(f"{where} is of npy version {version}; 1.0 and 2.0 are read")
    except (
        ValueError, TypeError, OverflowError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError,
    ) as error:  # fmt: skip
        raise ForeignFileError(f"{where} is no npy file ({str(error)[:100]})") from error
    rest = data[stream.tell() :]
    if len(shape) > 8 or any(n < 0 for n in shape):
        raise ForeignFileError(f"{where} has the shape {shape}")
    if not dtype.hasobject:
        if dtype.names or dtype.subdtype or dtype.char not in _SCALARS or not dtype.itemsize:
            raise ForeignFileError(f"{where} holds {dtype}; only numbers and text are admitted")
        if math.prod(shape) * dtype.itemsize != len(rest):
            raise ForeignFileError(f"{where} holds {len(rest)} bytes, not {dtype} of shape {shape}")
        return np.frombuffer(rest, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    array = resolve(load_pickle(rest, where))
    if not isinstance(array, np.ndarray) or array.dtype != object or array.shape != shape:
        raise ForeignFileError(f"{where} says it has {shape} objects and holds something else")
    return array
