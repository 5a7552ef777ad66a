from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.scrubber import divergence


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
def test_matches_integer_arithmetic(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    real = rng.integers(0, 256, (n, 3, 5, 3), dtype=np.uint8)
    imagined = rng.integers(0, 256, (m, 3, 5, 3), dtype=np.uint8)
    got = divergence.per_frame(real, imagined)
    k = min(n, m)
    total = np.abs(real[:k].astype(np.int64) - imagined[:k].astype(np.int64)).reshape(k, -1).sum(axis=1)
    np.testing.assert_allclose(got, total / (3 * 5 * 3), rtol=1e-6)
    np.testing.assert_allclose(divergence.per_frame(imagined, real), got)


def test_extremes() -> None:
    black, white = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    assert divergence.per_frame(black, white).tolist() == [255.0, 255.0]
    assert divergence.per_frame(white, white).tolist() == [0.0, 0.0]


def test_heat_map_shows_where_and_how_much() -> None:
    real = np.full((1, 4, 4, 3), 100, np.uint8)
    imagined = real.copy()
    imagined[0, 1, 2] += 32
    imagined[0, 3, 3] = 255
    scale = divergence.HeatScale(maximum=64.0)
    heat = divergence.heat_map(real, imagined, scale)
    table = divergence.ramp(256)
    assert heat[0, 0, 0].tolist() == table[0].tolist()
    assert heat[0, 1, 2].tolist() == table[128].tolist()
    assert heat[0, 3, 3].tolist() == table[255].tolist()


def test_ramp_reads_without_hue() -> None:
    luminance = divergence.ramp(256).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1).all()
    assert luminance[-1] - luminance[0] > 200


def test_mismatched_frames_are_named() -> None:
    with pytest.raises(divergence.DivergenceError, match="resize one"):
        divergence.per_frame(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(divergence.DivergenceError, match="imagined frames must be u8"):
        divergence.per_frame(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.float32))  # type: ignore[arg-type]
