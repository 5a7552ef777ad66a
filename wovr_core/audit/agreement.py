"""Does imagination order siblings as the simulator does? The gradient of GRPO is made of nothing else.

Siblings begin at one keyframe and differ only in what the policy drew. What they are worth in imagination is correlated
with what executing the very same actions led to, *within* their groups: that some starts are better than others counts
for nothing, as a group's mean is taken off its advantages (`rl.advantages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import FloatArray


@dataclass(frozen=True)
class SiblingCorrelation:
    """Pearson's correlation of deviations from the groups' means, with its interval over resampled groups."""

    value: float | None
    """None where no group has siblings that differ in both."""
    interval: tuple[float, float] | None
    groups: int
    siblings: int


def sibling_correlation(
    imagined: FloatArray, real: FloatArray, level: float = 0.95, resamples: int = 2000
) -> SiblingCorrelation:
    """How well imagination orders siblings.

    Args:
        imagined, real: (N groups, G siblings), what each sibling is worth.

    Raises:
        WovrError: shapes that differ, or groups of fewer than two.
    """
    if imagined.shape != real.shape or imagined.ndim != 2 or imagined.shape[1] < 2:
        raise WovrError(f"need two arrays (groups, at least 2 siblings), got {imagined.shape} and {real.shape}")
    a, b = (x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64) for x in (imagined, real))
    sums = np.stack([(a * b).sum(1), (a * a).sum(1), (b * b).sum(1)], axis=1)
    value = _correlation(sums.sum(0))
    chosen = np.random.default_rng(0).integers(len(sums), size=(resamples, len(sums)))
    drawn = [c for c in map(_correlation, sums[chosen].sum(axis=1)) if c is not None]
    tails = [100 * (1 - level) / 2, 100 * (1 + level) / 2]
    interval = None if value is None else tuple(float(x) for x in np.percentile(drawn, tails))
    return SiblingCorrelation(value, interval, *imagined.shape)  # type: ignore[arg-type]


def _correlation(sums: Sequence[float] | FloatArray) -> float | None:
    cross, first, second = (float(x) for x in sums)
    return cross / float(np.sqrt(first * second)) if first > 1e-12 and second > 1e-12 else None
