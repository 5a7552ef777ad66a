"""The restricted unpickler: what plain data need, and nothing of what attacks need."""

from __future__ import annotations

import builtins
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from format_sources import npy
from wovr_core.data.formats.base import ForeignFileError
from wovr_core.data.formats.restricted import RefusedError, load_npy, load_pickle, resolve
from wovr_core.data.formats.sandbox import Sandbox


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def frames() -> np.ndarray:
    rows = np.empty(2, dtype=object)
    for i in range(2):
        rows[i] = {
            "image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + i,
            "turned": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
            "big_endian": np.arange(3, dtype=">f4"),
            "instruction": b"pick \xff up" if i else "naïve",
            "numbers": [1, 2.5, np.float32(3.5), np.int64(4), True, None],
        }
    return rows


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_come_back_under_every_protocol(protocol: int) -> None:
    wanted = frames()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (2,)})
    data = header.getvalue() + pickle.dumps(wanted, protocol=protocol)
    rows = load_npy(data, "x")
    for row, expected in zip(rows, wanted, strict=True):
        for name in ("image", "turned", "big_endian"):
            array = resolve(row[name])
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])
        assert resolve(row["instruction"]) == expected["instruction"]
        assert [resolve(value) for value in row["numbers"]] == expected["numbers"]


def test_old_numpys_names_are_known() -> None:
    # Protocol 0: in the others the lengths of names stand before them.
    text = pickle.dumps(np.arange(3, dtype=np.uint8), protocol=0).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in text
    np.testing.assert_array_equal(resolve(load_pickle(text, "x")), [0, 1, 2])


@pytest.mark.security
@pytest.mark.parametrize(
    "payload",
    [
        Calls(os.system, "touch {}"),
        Calls(builtins.eval, "open('{}', 'w')"),
        Calls(builtins.exec, "open('{}', 'w')"),
        Calls(builtins.__import__, "os"),
        Calls(io.open, "{}", "w"),
        Calls(np.load, "{}"),
        Calls(np.fromfile, "{}"),
        Calls(np.memmap, "{}"),
        Calls(np.dtype, [("a", "O")]),
        Calls(np.dtype, "V1000000000"),
        Calls(bytes, 1 << 40),
        Calls(bytearray, 1 << 40),
        Calls(complex, 1),
        print,
        Path("x"),
    ],
    ids=lambda payload: getattr(payload, "call", [type(payload)])[0].__name__,
)
def test_calls_are_refused_and_not_made(payload: Any, tmp_path: Path, sandbox: Sandbox) -> None:
    sentinel = tmp_path / "sentinel"
    if isinstance(payload, Calls):
        function, arguments = payload.call
        filled = [a.replace("{}", str(sentinel)) if isinstance(a, str) else a for a in arguments]
        payload = Calls(function, *filled)
    rows = np.empty(1, dtype=object)
    rows[0] = {"image": payload}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    for protocol in range(6):
        data = header.getvalue() + pickle.dumps(rows, protocol=protocol)
        with pytest.raises(RefusedError):
            load_npy(data, "x")
    (tmp_path / "traj0.npy").write_bytes(data)
    with pytest.raises(ForeignFileError, match=r"traj0\.npy"):
        sandbox.read("rlinf", tmp_path, {}, sandbox.keys("rlinf", tmp_path, {})[0])
    assert not sentinel.exists()


@pytest.mark.security
@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02cos\nsystem\n)\x81.",  # NEWOBJ
        b"Pother\n.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an extension code
        b"cnumpy\nndarray\n}S'__init__'\nI1\nsb.",  # a state for a class
        b"cnumpy\ndtype\n(N}S'name'\nI1\nstb.",  # a slot of a function
        b"c__builtin__\nglobals\n(tR.",
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.garbage",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"(" * 100_000 + b".",
        b"",
    ],
)
def test_handwritten_codes_end_in_an_error(code: bytes) -> None:
    with pytest.raises(ForeignFileError):
        resolve(load_pickle(code, "x"))


@pytest.mark.security
def test_an_arrays_claims_are_checked() -> None:
    good = npy(np.array([{"a": np.zeros(8, np.uint8)}], dtype=object))
    assert resolve(load_npy(good, "x")[0]["a"]).shape == (8,)
    with pytest.raises(ForeignFileError, match="does not hold"):
        load_npy(good.replace(b"K\x08\x85", b"K\x09\x85"), "x")
    bomb = npy(np.zeros((2, 2), np.uint8)).replace(b"(2, 2)", b"(9, 9)")
    with pytest.raises(ForeignFileError, match="holds 4 bytes"):
        load_npy(bomb, "x")
    with pytest.raises(ForeignFileError):
        load_npy(npy(np.zeros(2, np.uint8)).replace(b"(2,)", b"(-2"), "x")
    nothing = io.BytesIO()
    np.lib.format.write_array_header_1_0(nothing, {"descr": "<U0", "fortran_order": False, "shape": (2,)})
    with pytest.raises(ForeignFileError, match="only numbers and text"):  # text of no letters
        load_npy(nothing.getvalue(), "x")
