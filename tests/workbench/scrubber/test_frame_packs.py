from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from workbench.scrubber.frame_packs import Codec, FramePack, FramePackError, pack, unpack


def _smooth(n: int = 5, size: int = 32) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size]
    base = np.stack([x * 4, y * 4, (x + y) * 3], axis=-1)
    return np.clip(base[None] + 10 * np.arange(n)[:, None, None, None], 0, 255).astype(np.uint8)


def test_lossless_is_exact() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 17, 23, 3), dtype=np.uint8)
    packed = pack(frames, "webp-lossless")
    np.testing.assert_array_equal(unpack(packed), frames)
    assert (packed.height, packed.width, len(packed)) == (17, 23, 4)


@pytest.mark.parametrize(("codec", "kind"), [("webp", "WEBP"), ("jpeg", "JPEG"), ("webp-lossless", "WEBP")])
def test_each_image_stands_alone_at_its_offset(codec: Codec, kind: str) -> None:
    frames = _smooth()
    packed = pack(frames, codec)
    assert packed.offsets[0] == 0
    assert packed.offsets[-1] == len(packed.data)
    for k in range(len(frames)):
        image = Image.open(io.BytesIO(packed.data[packed.offsets[k] : packed.offsets[k + 1]]))
        assert image.format == kind
        assert np.abs(np.asarray(image.convert("RGB"), float) - frames[k]).mean() < 3


def test_auto_is_exact_for_small_frames() -> None:
    small = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(unpack(pack(small)), small)
    large = np.random.default_rng(0).integers(0, 256, (1, 97, 97, 3), dtype=np.uint8)
    assert len(pack(large).data) < len(pack(large, "webp-lossless").data) / 2


def test_quality_pays_in_bytes() -> None:
    frames = _smooth(2, 64)
    assert len(pack(frames, "jpeg", 95).data) > len(pack(frames, "jpeg", 30).data)


def test_views_of_other_memory_layouts_are_packed_as_seen() -> None:
    frames = _smooth()[:, ::-1, ::-1]  # the 180-degree convention, as a view
    np.testing.assert_array_equal(unpack(pack(frames, "webp-lossless")), frames)


@pytest.mark.parametrize(
    ("frames", "codec", "quality", "says"),
    [
        (np.zeros((2, 4, 4), np.uint8), "webp", None, "must be u8"),
        (np.zeros((2, 4, 4, 3), np.float32), "webp", None, "float32"),
        (np.zeros((0, 4, 4, 3), np.uint8), "webp", None, "nothing to pack"),
        (np.zeros((1, 4, 4, 3), np.uint8), "png", None, "known: auto, webp"),
        (np.zeros((1, 4, 4, 3), np.uint8), "jpeg", 101, "0-100"),
    ],
)
def test_bad_frames_are_named(frames: np.ndarray, codec: str, quality: int | None, says: str) -> None:
    with pytest.raises(FramePackError, match=says):
        pack(frames, codec, quality)  # type: ignore[arg-type]


def test_offsets_must_fit_the_bytes() -> None:
    for offsets in [(0, 3), (1, 4), (0, 2, 2, 4), ()]:
        with pytest.raises(FramePackError, match="offsets"):
            FramePack(b"abcd", offsets, "image/webp", 1, 1)
    with pytest.raises(FramePackError, match="frame 1 is outside"):
        FramePack(b"abcd", (0, 4), "image/webp", 1, 1).image(1)
