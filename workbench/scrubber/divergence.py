"""How far imagined frames are from real ones, measured on the original pixels, never on packed ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.types import FloatArray, Frames

_STOPS: tuple[tuple[int, int, int], ...] = (
    (6, 6, 22),
    (52, 20, 94),
    (134, 32, 106),
    (206, 62, 68),
    (246, 130, 36),
    (250, 202, 82),
    (255, 252, 214),
)
"""Heat-map colours from none to much. Their lightness rises steadily, so that they read without hue as well."""


@dataclass(frozen=True)
class HeatScale:
    """How differences become colours. One fixed scale, so that two rollouts can be compared by eye."""

    maximum: float = 64.0
    """Mean absolute difference of a pixel's channels, in grey levels, that gets the last colour."""


class DivergenceError(WovrError):
    """Two stacks of frames that cannot be compared."""


def per_frame(real: Frames, imagined: Frames) -> FloatArray:
    """Mean absolute pixel difference of each pair of frames.

    Args:
        real: (N, H, W, 3) u8.
        imagined: (M, H, W, 3) u8; compared over the frames both have.

    Returns:
        (min(N, M),) in [0, 255].

    Raises:
        DivergenceError: different picture sizes, or not u8 (N, H, W, 3).
    """
    n = _common(real, imagined)
    return np.array([_difference(real[k], imagined[k]).mean() for k in range(n)], dtype=np.float32)


def heat_map(real: Frames, imagined: Frames, scale: HeatScale | None = None) -> Frames:
    """The same differences as pictures: (min(N, M), H, W, 3) u8, coloured by `ramp`."""
    n = _common(real, imagined)
    top = (scale or HeatScale()).maximum
    table = ramp(256)
    out = np.empty((n, *real.shape[1:]), dtype=np.uint8)
    for k in range(n):
        level = _difference(real[k], imagined[k]).mean(axis=-1) * (255.0 / top)
        out[k] = table[np.clip(np.rint(level), 0, 255).astype(np.intp)]
    return out


def ramp(steps: int) -> npt.NDArray[np.uint8]:
    """The heat map's colours from none to much: (steps, 3) u8."""
    stops = np.asarray(_STOPS, dtype=np.float64)
    at = np.linspace(0, len(stops) - 1, steps)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.abs(a.astype(np.float32) - b.astype(np.float32))


def _common(real: Frames, imagined: Frames) -> int:
    for name, frames in (("real", real), ("imagined", imagined)):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise DivergenceError(f"{name} frames must be u8 (N, H, W, 3), not {frames.dtype} {frames.shape}")
    if real.shape[1:] != imagined.shape[1:]:
        raise DivergenceError(f"real frames are {real.shape[1:3]} and imagined ones {imagined.shape[1:3]}; resize one")
    return min(len(real), len(imagined))
