"""Film strips of catalogue items: made when first asked for, kept under WOVR_HOME/cache."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.film_strips import GAP, film_strip
from workbench.store.file_cache import FileCache
from workbench.store.item_frames import frame_rows, scale_to
from workbench.store.items import Item
from wovr_core.errors import CorruptFileError
from wovr_core.files import wovr_home

MIME = "image/webp"
BUDGET = 256 * 1024 * 1024
"""Bytes of strips that are kept, the latest used."""


@dataclass(frozen=True)
class StripConfig:
    """How a strip looks. Change `version` with the look: it is part of the cached file's name."""

    count: int = 10
    tile: int = 64
    """Height of a frame in pixels; larger frames are made smaller by a whole factor."""
    quality: int = 82
    version: int = 2


class Strips:
    """The strips' cache. Safe for several threads; at most two strips are made at one time."""

    def __init__(self, folder: Path | None = None, config: StripConfig | None = None, budget: int = BUDGET) -> None:
        self._cache = FileCache(folder or wovr_home() / "cache" / "strips", budget)
        self._config = config or StripConfig()

    def get(self, item: Item) -> bytes:
        """A WebP picture, real over imagined where both are there. Raises CorruptFileError."""
        rows = 2 if item.replay else 1
        # The stamp is a digest that we made ourselves, never a browser's word.
        return self._cache.get(f"{item.stamp}-{rows}-v{self._config.version}.webp", lambda: render(item, self._config))


def render(item: Item, config: StripConfig) -> bytes:
    """The strip as WebP. Raises CorruptFileError."""
    from PIL import Image

    if item.broken:
        raise CorruptFileError(item.broken)
    rows = frame_rows(item)
    shrink, grow = scale_to(rows[0].shape[1], config.tile)
    try:
        picture = film_strip([row[:, ::shrink, ::shrink] for row in rows], config.count, grow, gap=GAP)
    except ValueError as error:
        raise CorruptFileError(f"{item.path.name}: {error}") from error
    # What stands between the frames is transparent, so that the strip suits a light and a dark page.
    alpha = np.full((*picture.shape[:2], 1), 255, dtype=np.uint8)
    height, width = (-(-side // shrink) * grow + GAP for side in rows[0].shape[1:3])
    for offset in range(1, GAP + 1):
        alpha[height - offset :: height] = 0
        alpha[:, width - offset :: width] = 0
    buffer = io.BytesIO()
    layers = np.concatenate([picture, alpha], axis=-1)
    Image.fromarray(layers, "RGBA").save(buffer, format="WEBP", quality=config.quality, method=2)
    return buffer.getvalue()
