"""Motion error: dense optical flow of imagined frames against that of real ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wovr_core.errors import MissingDependencyError
from wovr_core.types import BoolArray, Frames


def dense_flow(before: Frames, after: Frames) -> npt.NDArray[np.float32]:
    """(H, W, 2) displacement in pixels from one frame (H, W, 3) to another, by Farneback's polynomial expansion (2003).

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError("motion error needs OpenCV: pip install opencv-python-headless") from error
    first, second = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (before, after))
    window = max(9, before.shape[0] // 8)
    start = np.zeros((*first.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(first, second, start, 0.5, 3, window, 4, 5, 1.1, 0)
    return np.asarray(flow, dtype=np.float32)


def motion_error(real: Frames, imagined: Frames, moving: BoolArray, stride: int = 4) -> tuple[float, float]:
    """How far imagined motion is from real motion, where something moves.

    Args:
        real, imagined: (N, H, W, 3), the same instants.
        moving: (N, H, W), the region to look at.
        stride: frames between the two that a flow is taken over; single steps move less than a pixel.

    Returns:
        Mean end-point error, and mean length of the real flow (the error of imagining that nothing moves), both in
        pixels per `stride` frames; NaN where nothing moves.
    """
    errors, lengths = [], []
    for first in range(len(real) - stride):
        region = moving[first] | moving[first + stride]
        if not region.any():
            continue
        truth = dense_flow(real[first], real[first + stride])[region]
        guess = dense_flow(imagined[first], imagined[first + stride])[region]
        errors.append(np.linalg.norm(guess - truth, axis=-1).mean())
        lengths.append(np.linalg.norm(truth, axis=-1).mean())
    if not errors:
        return (float("nan"), float("nan"))
    return (float(np.mean(errors)), float(np.mean(lengths)))
