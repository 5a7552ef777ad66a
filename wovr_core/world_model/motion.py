"""What moves in an episode: the gripper, the arm and the carried object, apart from the static scene.

A whole frame's error is dominated by table and floor, which never change; a world model is useful as far as the
moving region is right, so losses weigh it and reports state it apart.
"""

from __future__ import annotations

import numpy as np

from wovr_core.types import BoolArray, Frames


def background(frames: Frames, samples: int = 33) -> Frames:
    """The static scene of an episode: the temporal median of up to `samples` frames spread over it.

    Args:
        frames: (T, H, W, 3) u8.

    Returns:
        (H, W, 3) u8
    """
    index = np.unique(np.linspace(0, len(frames) - 1, samples).astype(int))
    return np.median(frames[index], axis=0).astype(np.uint8)


def moving_region(frames: Frames, threshold: int = 24, grow: int = 1) -> BoolArray:
    """Pixels that differ from the episode's static scene.

    Args:
        frames: (T, H, W, 3) u8, one episode (or one clip) in order.
        threshold: a pixel moves when one of its channels deviates from the background by more than this, of 255.
        grow: pixels by which the region is dilated, so that it holds the edges too.

    Returns:
        (T, H, W) bool
    """
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (T, H, W, 3), got {frames.shape}")
    still = background(frames).astype(np.int16)
    mask = (np.abs(frames.astype(np.int16) - still) > threshold).any(axis=-1)
    if grow:
        from scipy.ndimage import binary_dilation

        mask = binary_dilation(mask, structure=np.ones((1, 2 * grow + 1, 2 * grow + 1), dtype=bool))
    return mask


def moving_error(imagined: Frames, real: Frames, moving: BoolArray) -> float:
    """Mean absolute pixel error, of 255, where something moves; of whole frames where nothing does.

    Args:
        imagined, real: (T, H, W, 3) u8, the same instants; T > 0.
        moving: (T, H, W), see `moving_region`.
    """
    difference = np.abs(imagined.astype(np.float32) - real.astype(np.float32)).mean(-1)
    return float(difference[moving].mean()) if moving.any() else float(difference.mean())
