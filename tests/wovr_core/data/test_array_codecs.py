"""What is stored comes back to the bit, small where pictures stand still; damage is noticed, bombs do not go off."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wovr_core.data.array_codecs import DecodeError, decode, encode
from wovr_core.errors import UnknownNameError, WovrError

DTYPES = st.sampled_from(["bool", "uint8", "uint16", "uint32", "int32", "int64", "float32", "float64"])


def there_and_back(array: np.ndarray, codec: str) -> tuple[np.ndarray, str, int]:
    tensors, description = encode("x", array, codec)
    size = sum(t.nbytes for t in tensors.values())
    if description is None:
        return tensors["x"], "raw", size
    return decode("x", description, tensors.__getitem__), description["codec"], size


def scene(length: int = 12, side: int = 48, moving: bool = False) -> np.ndarray:
    """A textured room in which a small square wanders; or the whole room does."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    slopes = rng.uniform(0.3, 2.5, (length, 2, 3))
    if not moving:
        slopes[:] = slopes[0]
    frames = (x[..., None] * slopes[:, None, None, 0] + y[..., None] * slopes[:, None, None, 1]).astype(np.uint8)
    for t in range(length):
        frames[t, 3 + t : 8 + t, 10:15] = 255 - 9 * t
    return frames


@settings(max_examples=60, deadline=None)
@given(st.data(), DTYPES, st.sampled_from(["auto", "delta", "raw"]))
def test_any_array_comes_back_to_the_bit(data: st.DataObject, dtype: str, codec: str) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    array = data.draw(hnp.arrays(dtype, shape))
    back, _, _ = there_and_back(array, codec)
    assert back.tobytes() == array.tobytes()  # NaN and -0.0 too
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.flags.writeable or codec != "delta"


def test_a_still_camera_takes_delta_and_a_moving_one_webp() -> None:
    for moving, expected in ((False, "delta"), (True, "webp")):
        frames = scene(moving=moving)
        back, codec, size = there_and_back(frames, "auto")
        assert codec == expected
        assert np.array_equal(back, frames)
        assert size < 0.5 * frames.nbytes
        assert size <= min(there_and_back(frames, other)[2] for other in ("delta", "webp"))


def test_noise_stays_raw() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    assert there_and_back(noise, "auto")[1] == "raw"


def test_depth_is_kept_as_floats_and_small() -> None:
    depth = scene()[..., 0].astype(np.float32) / 77
    back, codec, size = there_and_back(depth, "auto")
    assert codec == "delta"
    assert back.tobytes() == depth.tobytes()
    assert size < 0.25 * depth.nbytes


def test_a_non_contiguous_view_is_stored_as_it_looks() -> None:
    frames = scene()[:, ::-1, ::-1]
    for codec in ("delta", "webp"):
        assert np.array_equal(there_and_back(frames, codec)[0], frames)


def test_numbers_of_another_byte_order_keep_their_values() -> None:
    depth = (scene()[..., 0] / 77).astype(">f4")
    back, codec, _ = there_and_back(depth, "delta")
    assert codec == "delta"
    assert np.array_equal(back, depth)


def test_webp_and_codecs_by_name() -> None:
    with pytest.raises(WovrError, match=r"x: WebP holds colour pictures .* not float32 \(2, 3\)"):
        encode("x", np.zeros((2, 3), np.float32), "webp")
    with pytest.raises(UnknownNameError, match="did you mean 'webp'"):
        encode("x", np.zeros((2, 3)), "wepb")


@pytest.mark.fault
@pytest.mark.parametrize("codec", ["delta", "webp"])
def test_damage_is_noticed(codec: str) -> None:
    frames = scene()
    tensors, description = encode("x", frames, codec)
    assert description is not None
    name = f"x_{codec}"
    whole = tensors[name]
    for broken in (whole[:-20], whole[20:], whole[:0], np.zeros_like(whole)):
        with pytest.raises(DecodeError):
            decode("x", description, (tensors | {name: broken}).__getitem__)
    for lie in ({"shape": [11, 48, 48, 3]}, {"shape": [12, 48, 47, 3]}, {"shape": [13, 48, 48, 3]}, {"shape": []},
                {"dtype": "object"}, {"codec": "pickle"}, {"shape": "x"}, {"shape": [12, 48, 48, -3]}):  # fmt: skip
        with pytest.raises(DecodeError):
            decode("x", description | lie, tensors.__getitem__)
    with pytest.raises(DecodeError):
        decode("x", {}, tensors.__getitem__)


@pytest.mark.security
def test_a_bomb_is_not_unpacked() -> None:
    """64 MB of zeros in a few kB, said to be 48 bytes."""
    bomb = np.frombuffer(zlib.compress(bytes(1 << 26), 9), np.uint8)
    with pytest.raises(DecodeError, match="does not hold the 48 bytes"):
        decode("x", {"codec": "delta", "dtype": "uint8", "shape": [4, 12]}, {"x_delta": bomb}.__getitem__)
