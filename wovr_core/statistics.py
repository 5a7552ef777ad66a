"""Intervals and tests for counts of successes, and for scores that rank. Every printed rate goes through here.

Rates carry Wilson's or Clopper and Pearson's interval; two policies on the same initial states are compared as pairs
(McNemar's exact test, Newcombe's interval of the difference); a score is judged by the area under its ROC curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError

Numbers = Sequence[float] | npt.NDArray[np.floating]
Flags = Sequence[bool] | npt.NDArray[np.bool_]


def proportion_interval(
    successes: int, trials: int, method: Literal["wilson", "exact"] = "wilson", level: float = 0.95
) -> tuple[float, float]:
    """Wilson (1927) or Clopper-Pearson ("exact") interval of a proportion; (0, 1) without trials."""
    from scipy.stats import binomtest

    if trials == 0:
        return (0.0, 1.0)
    interval = binomtest(successes, trials).proportion_ci(confidence_level=level, method=method)
    return (float(interval.low), float(interval.high))


def format_rate(successes: int, trials: int) -> str:
    """ "7/20 = 35 % [18, 57]": never a rate without its n and its interval."""
    if trials == 0:
        return "0/0 (no trials)"
    low, high = proportion_interval(successes, trials)
    return f"{successes}/{trials} = {100 * successes / trials:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


@dataclass(frozen=True)
class PairedComparison:
    """Two policies over the same trials, as a table of pairs: a trial is a task's initial state (and a seed)."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def trials(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Second minus first, in [-1, 1]; NaN without trials."""
        return (self.only_second - self.only_first) / self.trials if self.trials else math.nan

    @property
    def p_value(self) -> float:
        """McNemar's exact two-sided test (binomial over the pairs that differ; 1 if none does)."""
        return mcnemar_exact(self.only_first, self.only_second)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Newcombe's interval of `difference` (Statistics in Medicine 17, 1998, 2635-2650, method 10)."""
        return _newcombe_paired(self.both, self.only_second, self.only_first, self.neither, level)

    def __str__(self) -> str:
        """ "+12 points [+3, +21], p = 0.011, n = 100 pairs"."""
        if not self.trials:
            return "no pairs"
        low, high = self.interval()
        values = (f"{100 * v:+.0f}" for v in (self.difference, low, high))
        return "{} points [{}, {}], ".format(*values) + f"p = {self.p_value:.2g}, n = {self.trials} pairs"


def compare_paired(first: Flags, second: Flags) -> PairedComparison:
    """Count the pairs of two sequences of outcomes, trial by trial. Raises WovrError when their lengths differ."""
    if len(first) != len(second):
        raise WovrError(f"paired outcomes must be of the same trials, got {len(first)} and {len(second)}")
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    counts = (a & b, a & ~b, ~a & b, ~a & ~b)
    return PairedComparison(*(int(c.sum()) for c in counts))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p of "both are as likely to succeed where the other fails": binomial(n, 1/2), n the differing pairs."""
    from scipy.stats import binomtest

    if min(only_first, only_second) < 0:
        raise WovrError(f"counts of pairs cannot be negative: {only_first}, {only_second}")
    differing = only_first + only_second
    return float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0


def _newcombe_paired(both: int, only_high: int, only_low: int, neither: int, level: float) -> tuple[float, float]:
    """Square-and-add of two Wilson intervals, with the pairs' correlation (phi, continuity corrected)."""
    n = both + only_high + only_low + neither
    if not n:
        return (-1.0, 1.0)
    high, low = both + only_high, both + only_low
    product = float(both * neither - only_high * only_low)
    if product > 0:
        product = max(product - n / 2, 0)
    scale = high * (n - high) * low * (n - low)
    phi = product / math.sqrt(scale) if scale else 0.0
    return _square_and_add((high, n), (low, n), phi, level)


def difference_interval(first: tuple[int, int], second: tuple[int, int], level: float = 0.95) -> tuple[float, float]:
    """Interval of second - first for *independent* proportions (Newcombe 1998, 873-890, method 10).

    Args:
        first, second: (successes, trials).
    """
    if not first[1] or not second[1]:
        return (-1.0, 1.0)
    return _square_and_add(second, first, 0.0, level)


def _square_and_add(high: tuple[int, int], low: tuple[int, int], phi: float, level: float) -> tuple[float, float]:
    """Interval of high's rate minus low's."""
    p, q = high[0] / high[1], low[0] / low[1]
    (p_low, p_high), (q_low, q_high) = (proportion_interval(*v, level=level) for v in (high, low))

    def length(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    return (p - q - length(p - p_low, q_high - q), p - q + length(p_high - p, q - q_low))


def bootstrap_interval(
    values: Numbers,
    generator: np.random.Generator,
    clusters: Sequence[object] | None = None,
    draws: int = 4000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap of a mean, for example of paired differences (second - first of each trial).

    Args:
        values: (n,).
        clusters: (n,) labels; trials of one label (a task, a seed) are drawn or left out together, which widens the
            interval to what may be said of *other* tasks.
        draws: resamples.
    """
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return (math.nan, math.nan)
    labels = np.arange(len(data)) if clusters is None else np.unique([str(c) for c in clusters], return_inverse=True)[1]
    sums, counts = np.bincount(labels, weights=data), np.bincount(labels)
    means = np.empty(draws)
    for i in range(draws):  # one row at a time: memory stays that of the data
        chosen = generator.integers(len(sums), size=len(sums))
        means[i] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


@dataclass(frozen=True)
class Auroc:
    """How well a score ranks positives above negatives: 0.5 is chance."""

    value: float
    """NaN when one of the classes is empty."""
    interval: tuple[float, float]
    positives: int
    negatives: int

    def __str__(self) -> str:
        """ "0.81 [0.70, 0.89] (12 + 36)"."""
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}] ({self.positives} + {self.negatives})"


def roc_area(scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive scores higher than a negative, ties counted half (Mann and Whitney 1947).

    Args:
        scores, positive: (n,).

    Returns:
        In [0, 1]; NaN when one of the classes is empty.
    """
    from scipy.stats import rankdata

    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return math.nan
    return float((rankdata(scores)[positive].sum() - m * (m + 1) / 2) / (m * n))


def auroc(scores: Numbers, positive: Flags, level: float = 0.95) -> Auroc:
    """Area under the ROC curve with DeLong's variance (Biometrics 44, 1988), its interval taken on the logit scale.

    Where that variance is zero (perfect separation, or nearly no cases) the interval is Newcombe's (Statistics in
    Medicine 25, 2006, method 5), which stays honest there.

    Raises:
        WovrError: lengths that differ, or a score that is not finite.
    """
    from scipy.stats import norm

    values, flags = _ranked(scores, positive)
    m, n = int(flags.sum()), int((~flags).sum())
    area = roc_area(values, flags)
    if math.isnan(area):
        return Auroc(area, (0.0, 1.0), m, n)
    wins, losses = _placements(values, flags)
    z = float(norm.ppf((1 + level) / 2))
    variance = _covariance(wins[None], losses[None]).item() if min(m, n) > 1 else 0.0
    if variance <= 0 or not 0 < area < 1:
        return Auroc(area, _newcombe_area(area, m, n, z), m, n)
    centre, half = math.log(area / (1 - area)), z * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-v)) for v in (centre - half, centre + half))
    return Auroc(area, (low, high), m, n)


def auroc_difference(
    first: Numbers, second: Numbers, positive: Flags, level: float = 0.95
) -> tuple[float, float, float]:
    """Area of `second` minus that of `first` on the same cases: (difference, low, high), DeLong's paired method."""
    from scipy.stats import norm

    (a, flags), (b, _) = _ranked(first, positive), _ranked(second, positive)
    if min(flags.sum(), (~flags).sum()) < 2:
        return (math.nan, -1.0, 1.0)
    pairs = [_placements(v, flags) for v in (a, b)]
    wins, losses = (np.stack(part) for part in zip(*pairs, strict=True))
    covariance = _covariance(wins, losses)
    spread = math.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0))
    difference = float(wins[1].mean() - wins[0].mean())
    half = float(norm.ppf((1 + level) / 2)) * spread
    return (difference, max(difference - half, -1.0), min(difference + half, 1.0))


def _ranked(scores: Numbers, positive: Flags) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != flags.shape or values.ndim != 1:
        raise WovrError(f"need one score per case, got {values.shape} scores and {flags.shape} labels")
    if not np.isfinite(values).all():
        raise WovrError("a score is not finite")
    return values, flags


def _placements(
    values: npt.NDArray[np.float64], flags: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each positive the share of negatives below it (ties half), and for each negative of positives above it."""
    from scipy.stats import rankdata

    m, n = int(flags.sum()), int((~flags).sum())
    ranks = rankdata(values)
    above = (ranks[flags] - rankdata(values[flags])) / n
    below = 1 - (ranks[~flags] - rankdata(values[~flags])) / m
    return above, below


def _covariance(wins: npt.NDArray[np.float64], losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(k, k) of k areas, from placements (k, m) and (k, n)."""
    parts = (np.atleast_2d(np.cov(v)) / v.shape[1] for v in (wins, losses))
    return np.asarray(sum(parts))


def _newcombe_area(area: float, positives: int, negatives: int, z: float) -> tuple[float, float]:
    """The areas t with |t - area| = z sqrt(V(t)), V for exponential scores."""
    from scipy.optimize import brentq

    cases = (positives + negatives) / 2

    def variance(t: float) -> float:
        return t * (1 - t) * (1 + (cases - 1) * ((1 - t) / (2 - t) + t / (1 + t))) / (positives * negatives)

    def gap(t: float) -> float:
        return abs(t - area) - z * math.sqrt(variance(t))

    tiny = 1e-12
    # At an area of 0 or 1 the gap vanishes there too: that root is not the limit.
    low = brentq(gap, tiny, area - 1e-9) if area > 1e-6 and gap(tiny) > 0 else 0.0
    high = brentq(gap, area + 1e-9, 1 - tiny) if area < 1 - 1e-6 and gap(1 - tiny) > 0 else 1.0
    return (float(low), float(high))
