"""Textures are averaged, cached by content, and only where nothing but the eye depends on them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from wovr_core.envs.libero_textures import shrink_textures, small_file
from wovr_core.errors import WovrError


def save(path: Path, texels: np.ndarray) -> Path:
    Image.fromarray(texels).save(path)
    return path


def test_blocks_are_averaged_whatever_their_opacity(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texels = rng.integers(0, 256, (64, 48, 4), dtype=np.uint8)
    texels[::2, :, 3] = 0  # transparent, yet MuJoCo shows their colour
    small = small_file(save(tmp_path / "t.png", texels), tmp_path / "cache", limit=16)
    with Image.open(small) as picture:
        found = np.asarray(picture)
    expected = texels[..., :3].reshape(16, 4, 12, 4, 3).astype(float).mean(axis=(1, 3))
    assert found.shape == (16, 12, 3)
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("marked", [True, False])
def test_the_colour_space_mark_is_kept(tmp_path: Path, marked: bool) -> None:
    """MuJoCo reads it, and draws a marked picture darker: LIBERO's salad dressing has one."""
    chunks = PngImagePlugin.PngInfo()
    if marked:
        chunks.add(b"sRGB", b"\x00")
    Image.fromarray(np.full((40, 40, 3), 128, np.uint8)).save(tmp_path / "t.png", pnginfo=chunks)
    with Image.open(small_file(tmp_path / "t.png", tmp_path / "cache", 16)) as picture:
        assert ("srgb" in picture.info) is marked


def test_the_cache_goes_by_content(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    source = save(tmp_path / "t.png", np.zeros((40, 40, 3), np.uint8))
    first = small_file(source, cache, 16)
    assert small_file(save(tmp_path / "same.png", np.zeros((40, 40, 3), np.uint8)), cache, 16) == first
    save(source, np.full((40, 40, 3), 9, np.uint8))
    second = small_file(source, cache, 16)
    assert second != first
    with Image.open(second) as picture:
        assert np.unique(np.asarray(picture)).tolist() == [9]
    assert small_file(source, cache, 40) == source
    assert sorted(cache.iterdir()) == sorted([first, second])


def test_only_large_plain_pictures_are_replaced(tmp_path: Path) -> None:
    large = save(tmp_path / "large.png", np.zeros((64, 64, 3), np.uint8))
    small = save(tmp_path / "small.png", np.zeros((8, 8, 3), np.uint8))
    xml = f"""<mujoco><asset>
      <texture name="a" type="2d" file="{large}"/><texture name="b" type="2d" file="{small}"/>
      <texture name="c" type="cube" gridsize="3 4" file="{large}"/><texture name="d" builtin="checker"/>
      <texture name="e" type="2d" nchannel="4" file="{large}"/><mesh name="m" file="x.obj"/>
    </asset></mujoco>"""
    files = {e.get("name"): e.get("file") for e in ET.fromstring(shrink_textures(xml, tmp_path / "c", 16))[0]}
    assert files.pop("a") not in (None, str(large))
    assert files == {"b": str(small), "c": str(large), "d": None, "e": str(large), "m": "x.obj"}


@pytest.mark.fault
def test_an_unwritable_cache_is_told(tmp_path: Path) -> None:
    source = save(tmp_path / "t.png", np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WovrError, match=r"cannot write .*file/.*\.png: .*WOVR_HOME"):
        small_file(source, tmp_path / "file", 16)
