"""Actions as tokens: per-dimension bins between quantiles of the demonstrations, zero exactly among them.

OpenVLA (arXiv 2406.09246, section 3.2) cuts each dimension evenly between the 1st and 99th percentile of the
demonstrated actions, so that outliers do not coarsen the bins. Evenly over both halves together, no bin need
lie at zero, and then a still wrist turns by a little in every step until all pictures are foreign. Here the
number of bins is odd, the middle one *is* 0.0, and each half is cut evenly by itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from wovr_core.errors import WovrError
from wovr_core.types import FloatArray

_STILL = 1e-6  # a dimension whose demonstrated range is narrower than this is constant


class ActionBins(nn.Module):
    """A table of bin centres per action dimension; a buffer, so it travels with the policy's weights."""

    centres: torch.Tensor
    """(A, N) float32, ascending along N (all equal in a constant dimension)."""

    def __init__(self, bins: int, action_dim: int) -> None:
        """Start with even bins over [-1, 1], as `fit` finds them for data that fills that range."""
        super().__init__()
        if bins < 3 or bins % 2 == 0:
            raise WovrError(f"the number of action bins must be odd and at least 3 (zero is a bin), got {bins}")
        self.bins = bins
        even = np.tile(np.array([[-1.0], [1.0]], dtype=np.float64), (1, action_dim))
        self.register_buffer("centres", torch.from_numpy(_centres(even[0], even[1], bins)))

    def fit(self, actions: FloatArray, quantile: float = 0.01) -> None:
        """Place the bins between the `quantile` and `1 - quantile` quantiles of the demonstrated actions.

        Args:
            actions: (N, A) demonstrated actions.
            quantile: share cut off at either end, in [0, 0.5).

        Raises:
            WovrError: no actions, a wrong width, or values that are not finite.
        """
        data = np.asarray(actions, dtype=np.float64)
        action_dim = self.centres.shape[0]
        if data.ndim != 2 or data.shape[1] != action_dim or len(data) == 0:
            raise WovrError(f"bins are fitted to actions of shape (N, {action_dim}), N > 0; got {data.shape}")
        if not np.isfinite(data).all():
            raise WovrError("bins cannot be fitted: the demonstrated actions hold NaN or infinite values")
        if not 0 <= quantile < 0.5:
            raise WovrError(f"bins: quantile must lie in [0, 0.5), got {quantile}")
        low, high = np.quantile(data, [quantile, 1 - quantile], axis=0)
        # What hardly ever moves (the grasp's few steps, say) may vanish between the quantiles: keep its range.
        vanished = (high - low < _STILL) & (np.ptp(data, axis=0) >= _STILL)
        low = np.where(vanished, data.min(axis=0), low)
        high = np.where(vanished, data.max(axis=0), high)
        self.centres.copy_(torch.from_numpy(_centres(low, high, self.bins)))

    def encode(self, actions: torch.Tensor) -> torch.Tensor:
        """(..., A) raw actions -> (..., A) int64, the nearest bin; beyond the ends, the outermost."""
        centres = self.centres  # (A, N)
        middles = (centres[:, 1:] + centres[:, :-1]) / 2  # (A, N-1)
        flat = actions.to(torch.float32).reshape(-1, centres.shape[0]).T.contiguous()  # (A, M)
        tokens = torch.searchsorted(middles, flat)  # (A, M)
        still = (centres[:, -1] == centres[:, 0])[:, None]  # every bin decodes alike: name the middle one
        tokens = torch.where(still, torch.full_like(tokens, self.bins // 2), tokens)
        return tokens.T.reshape(actions.shape)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., A) int64 -> (..., A) float32 raw actions."""
        dims = torch.arange(self.centres.shape[0], device=tokens.device)
        return self.centres[dims, tokens]


def _centres(low: np.ndarray, high: np.ndarray, bins: int) -> FloatArray:
    """(A,) ends -> (A, N) bin centres with exactly 0.0 in the middle, or one constant throughout."""
    half = bins // 2
    ramp = np.arange(1, half + 1) / half  # (half,), ends at exactly 1
    rows = []
    for lo, hi in zip(low, high, strict=True):
        if hi - lo < _STILL:
            rows.append(np.full(bins, 0.0 if abs(hi) < _STILL else (lo + hi) / 2))
            continue
        # A dimension that only ever moves one way still gets bins on both sides of zero.
        negative = lo if lo < -_STILL else -max(hi, _STILL)
        positive = hi if hi > _STILL else -negative
        rows.append(np.concatenate([negative * ramp[::-1], [0.0], positive * ramp]))
    return np.stack(rows).astype(np.float32)
