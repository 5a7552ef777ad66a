"""A robot camera's picture as a policy of the library expects it: the conventions of LIBERO's frames.

A LIBERO frame (types.PICTURE_CONVENTION) is the raw upside-down render turned by 180 degrees, which is the upright
picture with left and right swapped. So an upright camera's picture is mirrored, after it was turned upright if the
camera hangs otherwise; then the recipe's square part is cut out and reduced to the recipe's size by area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import Frames


@dataclass(frozen=True)
class PictureRecipe:
    """How a camera's picture becomes a frame."""

    size: int = 64
    """H = W of the frame, in pixels."""
    turn: int = 0
    """Degrees (0, 90, 180, 270), clockwise, that bring the camera's picture upright."""
    left: float = 0.0
    """Of the square part, as a fraction of the upright picture's shorter side, from the left edge of the *frame*."""
    top: float = 0.0
    part: float = 1.0
    """Side of the square part, as a fraction of the shorter side."""

    def __post_init__(self) -> None:
        if self.turn not in (0, 90, 180, 270):
            raise WovrError(f"turn {self.turn}: a camera is turned by 0, 90, 180 or 270 degrees")
        if not 16 <= self.size <= 1024:
            raise WovrError(f"frame size {self.size} is out of range; 16 to 1024 pixels")
        if not 0 < self.part <= 1 or self.left < 0 or self.top < 0:
            raise WovrError(f"part {self.part} at left {self.left}, top {self.top} does not lie in the picture")


def to_frame(picture: Frames, recipe: PictureRecipe) -> Frames:
    """(H0, W0, 3) u8 from a camera -> (size, size, 3) u8 in PICTURE_CONVENTION.

    Raises WovrError when the part that the recipe names does not lie in the picture.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise WovrError(f"a camera's picture is (H, W, 3) u8, not {picture.dtype} {picture.shape}")
    frame = np.rot90(picture, -recipe.turn // 90)[:, ::-1]
    side = min(frame.shape[:2])
    length = round(recipe.part * side)
    top, left = round(recipe.top * side), round(recipe.left * side)
    # What the recipe leaves open is centred: a wide camera loses both of its edges.
    if recipe.part == 1.0:
        top, left = (frame.shape[0] - length) // 2, (frame.shape[1] - length) // 2
    if top + length > frame.shape[0] or left + length > frame.shape[1]:
        raise WovrError(f"the part of {length} px at {left}, {top} does not lie in a picture of {frame.shape[:2]}")
    square = np.ascontiguousarray(frame[top : top + length, left : left + length])
    if length == recipe.size:
        return square
    import cv2

    reduced = cv2.resize(square, (recipe.size, recipe.size), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.uint8)


def upright(frames: Frames) -> Frames:
    """(..., H, W, 3) in PICTURE_CONVENTION -> as a person at the camera sees it."""
    return np.ascontiguousarray(frames[..., ::-1, :])
