"""Help with resets: the schedule's initial picture laid over what the camera sees now, and how alike the two are."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.pictures import ssim
from wovr_core.types import Frames


@dataclass(frozen=True)
class Overlay:
    """Live over wanted."""

    picture: Frames
    """(H, W, 3): where both agree it is grey; what stands only where it should is red, what stands only where it is
    now is cyan. Push the cyan onto the red."""
    similarity: float
    """SSIM of the two, 1 for equal pictures."""


def overlay(wanted: Frames, live: Frames) -> Overlay:
    """Both (H, W, 3) u8. Raises WovrError when their sizes differ."""
    if wanted.shape != live.shape:
        raise WovrError(f"the initial picture is {wanted.shape[:2]}, the camera gives {live.shape[:2]}: same recipe?")
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    then, now = (np.rint(picture @ weights).astype(np.uint8) for picture in (wanted, live))
    # Red shows the live picture's brightness, green and blue the wanted one's: what is dark in one alone is tinted.
    return Overlay(np.stack([now, then, then], axis=-1), ssim(wanted, live))


def png(picture: Frames) -> bytes:
    """(H, W, 3) u8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def read_png(data: bytes) -> Frames:
    """(H, W, 3) u8. Raises WovrError when it is no picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8).copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise WovrError(f"an initial picture cannot be read: {error}") from error
