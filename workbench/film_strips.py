"""Film strips: frames of a rollout side by side, real over imagined, as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from wovr_core.types import Episode, Frames, Rollout

GAP = 2

Shown = TypeVar("Shown", Rollout, Episode)


def upright(frames: Frames) -> Frames:
    """As a person sees it: our storage convention turns pictures by 180 degrees and swaps left and right."""
    return frames[..., ::-1, :]


def as_seen(record: Shown) -> Shown:
    """A rollout or an episode with its frames upright."""
    return replace(record, frames=upright(record.frames))


def film_strip(rows: Sequence[Frames], count: int = 10, scale: int = 2, gap: int = GAP) -> Frames:
    """One picture with a row per sequence and `count` frames spread evenly over the longest.

    rows: (N, H, W, 3) each, all of one length and size. gap: white pixels between frames. Returns (H', W', 3).
    """
    if len({r.shape for r in rows}) != 1:
        raise ValueError(f"film strips need rows of one shape, got {[r.shape for r in rows]}")
    chosen = np.linspace(0, len(rows[0]) - 1, min(count, len(rows[0]))).round().astype(int)
    height, width = rows[0].shape[1] * scale, rows[0].shape[2] * scale
    canvas = np.full((len(rows) * (height + gap) - gap, len(chosen) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for r, frames in enumerate(rows):
        for c, index in enumerate(chosen):
            tile = upright(frames[index]).repeat(scale, 0).repeat(scale, 1)
            y, x = r * (height + gap), c * (width + gap)
            canvas[y : y + height, x : x + width] = tile
    return canvas


def png_bytes(picture: Frames) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(picture: Frames) -> str:
    """For an <img> of a self-contained page."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()
