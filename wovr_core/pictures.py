"""How alike two pictures are, for renderers and world models alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wovr_core.types import BoolArray, Frames


def psnr(a: Frames, b: Frames, mask: BoolArray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of u8 frames (..., H, W, 3), over a mask (..., H, W) or everywhere."""
    error = squared_error(a, b, mask)
    return float("nan") if np.isnan(error) else decibels(error)


def squared_error(a: Frames, b: Frames, mask: BoolArray | None = None) -> float:
    """Mean squared difference of u8 frames (..., H, W, 3), over a mask (..., H, W); NaN where the mask is empty."""
    error = np.square(a.astype(np.float32) - b.astype(np.float32)).mean(axis=-1)
    chosen = error if mask is None else error[mask]
    return float(chosen.mean()) if chosen.size else float("nan")


def decibels(mean_squared_error: float) -> float:
    """PSNR of 8-bit pictures with this mean squared error."""
    return float(10 * np.log10(255**2 / max(mean_squared_error, 1e-10)))


def ssim(a: Frames, b: Frames) -> float:
    """Mean structural similarity of u8 frames (..., H, W, 3); Wang et al. 2004: Gaussian window of 1.5 px, K1 = 0.01,
    K2 = 0.03, per colour channel."""
    from scipy.ndimage import gaussian_filter

    sigma = (0,) * (a.ndim - 3) + (1.5, 1.5, 0)

    def blur(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(gaussian_filter(values, sigma, truncate=3.5))

    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity.mean())
