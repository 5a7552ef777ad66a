import io

import numpy as np
import pytest
from PIL import Image

from workbench.film_strips import GAP, film_strip, png_bytes, upright


def numbered(count: int, size: int = 8) -> np.ndarray:
    frames = np.zeros((count, size, size, 3), np.uint8)
    frames += np.arange(count, dtype=np.uint8)[:, None, None, None]
    return frames


def test_first_and_last_frames_are_always_shown():
    strip = film_strip([numbered(33), numbered(33) + 100], count=5, scale=2)
    assert strip.shape == (2 * 16 + GAP, 5 * (16 + GAP) - GAP, 3)
    row = strip[4, 4 :: 16 + GAP, 0]
    assert row.tolist() == [0, 8, 16, 24, 32]
    assert strip[16 + GAP + 4, 4, 0] == 100


def test_pictures_are_turned_upright_for_people():
    frames = numbered(1)
    frames[0, 2, 1] = (9, 8, 7)  # stored turned by 180 degrees: left and right swapped, top on top
    assert upright(frames)[0, 2, 6].tolist() == [9, 8, 7]


def test_rows_must_match():
    with pytest.raises(ValueError, match="one shape"):
        film_strip([numbered(3), numbered(4)])


def test_png_keeps_the_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (12, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(picture)))), picture)
