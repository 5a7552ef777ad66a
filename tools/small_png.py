"""Pictures of pages, small enough to be kept in the repository."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wovr_core.files import write_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Page

LARGEST = 300_000
"""Bytes of a picture; colours are given up until it fits."""


def save(page: Page, path: Path) -> None:
    """The page's window as a small PNG: of 256 colours, or fewer, or reduced in size, until it fits."""
    from PIL import Image

    full = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for eighths, colours in itertools.product((8, 6, 5, 4), (256, 160, 96, 64)):
        size = (full.width * eighths // 8, full.height * eighths // 8)
        picture = full if eighths == 8 else full.resize(size, Image.Resampling.LANCZOS)
        data = palette_png(picture, colours)
        if len(data) <= LARGEST:
            break
    write_bytes(path, data)
    print(f"{path} {picture.width}x{picture.height}, {len(data) // 1000} KB, {colours} colours")


def palette_png(picture: Any, colours: int) -> bytes:
    """PNG bytes with a palette fitted to the picture."""
    from PIL import Image

    # The flat colours of the page exactly; the rest of the palette spread over all colours that occur, each counted
    # once, as the frames would else take the palette for themselves.
    def cell(colour: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(channel & 0xF8 | 4 for channel in colour)

    counted = sorted(picture.getcolors(1 << 24), reverse=True)
    flat = [colour for _, colour in counted[: colours // 8]]
    occurring: list[tuple[int, ...]] = sorted({cell(colour) for _, colour in counted} - set(map(cell, flat)))
    sample = Image.new("RGB", (len(occurring), 1))
    sample.putdata(occurring)
    spread = sample.quantize(colours - len(flat), method=Image.Quantize.MEDIANCUT).getpalette() or []
    chosen = Image.new("P", (1, 1))
    chosen.putpalette([*(channel for colour in flat for channel in colour), *spread[: 3 * (colours - len(flat))]])
    buffer = io.BytesIO()
    picture.quantize(palette=chosen, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
