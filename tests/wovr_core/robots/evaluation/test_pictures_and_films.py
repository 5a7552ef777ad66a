"""Overlays of resets, and films of trials."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.overlay import overlay, png, read_png
from wovr_core.robots.evaluation.video import write_video


def scene(x: int) -> np.ndarray:
    picture = np.full((48, 48, 3), 200, np.uint8)
    picture[20:32, x : x + 10] = 20
    return picture


def test_an_overlay_of_equal_pictures_is_grey_and_one() -> None:
    found = overlay(scene(10), scene(10))
    assert found.similarity == pytest.approx(1.0)
    assert np.ptp(found.picture.astype(int), axis=-1).max() == 0


def test_an_overlay_shows_where_the_object_is_and_where_it_should_be() -> None:
    found = overlay(scene(5), scene(30))
    red, green, _ = found.picture[25, 8].astype(int)
    assert red - green > 100  # should be here: red
    red, green, _ = found.picture[25, 35].astype(int)
    assert green - red > 100  # is here: cyan
    similarities = [overlay(scene(20), scene(20 + shift)).similarity for shift in (0, 2, 8)]
    assert similarities == sorted(similarities, reverse=True)
    with pytest.raises(WovrError, match="same recipe"):
        overlay(scene(5), scene(5)[:40])


def test_png_round_trip() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_png(png(picture)), picture)
    with pytest.raises(WovrError, match="cannot be read"):
        read_png(b"no picture")


def test_a_film_shows_every_frame_and_has_its_digest(tmp_path: Path) -> None:
    import av

    frames = np.repeat(np.linspace(20, 230, 12).astype(np.uint8)[:, None, None, None], 3, -1) * np.ones(
        (1, 31, 33, 1), np.uint8
    )
    digest = write_video(tmp_path / "films" / "a.mp4", frames, 20.0)
    assert digest == hashlib.sha256((tmp_path / "films" / "a.mp4").read_bytes()).hexdigest()
    assert digest == write_video(tmp_path / "b.mp4", frames, 20.0)
    with av.open(tmp_path / "films" / "a.mp4") as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 20
        seen = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(seen) == 12
    assert seen[0].shape[0] % 2 == 0
    assert min(seen[0].shape[:2]) >= 256
    for got, sent in zip(seen, frames, strict=True):
        assert abs(float(got.mean()) - float(sent.mean())) < 8
