"""Intervals for counts of successes. Every rate the project prints goes through here."""

from __future__ import annotations

from typing import Literal


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
