"""What the counts of an evaluation say: intervals of each rate, and the declared test between two policies."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.statistics import difference_interval, proportion_interval

GRID = 2001
"""Common rates at which Barnard's test is evaluated."""


@dataclass(frozen=True)
class Rate:
    """Successes of one policy."""

    successes: int
    trials: int
    """Without those excluded."""
    excluded: int
    repeated: int
    """Trials whose first attempt was void."""

    @property
    def wilson(self) -> tuple[float, float]:
        """95 %."""
        return proportion_interval(self.successes, self.trials)

    @property
    def exact(self) -> tuple[float, float]:
        """Clopper and Pearson's, 95 %."""
        return proportion_interval(self.successes, self.trials, "exact")


def barnard(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value of Barnard's exact test (Nature 156, 1945) that two policies succeed equally often.

    Args:
        first, second: (successes, trials).

    Raises:
        WovrError: more successes than trials.
    """
    from scipy.stats import barnard_exact

    for successes, trials in (first, second):
        if not 0 <= successes <= trials:
            raise WovrError(f"{successes} successes of {trials} trials cannot be")
    (k, n), (j, m) = first, second
    if min(n, m) == 0 or k + j in (0, n + m):
        return 1.0  # nothing that could differ
    with contextlib.redirect_stdout(io.StringIO()):  # its optimiser prints now and then
        found = barnard_exact([[k, j], [n - k, m - j]], alternative="two-sided", pooled=True).pvalue
    # scipy's search for the worst common rate may end in a lower peak (6 of 8 against 7 of 19: 0.073, not 0.083).
    return float(min(max(found, _worst_rate((k, n), (j, m))), 1.0))


def _worst_rate(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The test's definition on a dense grid: the largest probability, over common rates, of tables as extreme."""
    from scipy.stats import binom

    (k, n), (j, m) = first, second
    a, b = np.arange(n + 1)[:, None], np.arange(m + 1)[None]
    pooled = (a + b) / (n + m)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = np.abs(a / n - b / m) / np.where(spread > 0, spread, np.inf)
    extreme = z >= z[k, j] - 1e-9
    rates = np.linspace(0, 1, GRID)[:, None]
    tables = np.einsum("ga,gb,ab->g", binom.pmf(a.T, n, rates), binom.pmf(b, m, rates), extreme, optimize=True)
    return float(tables.max())


def difference(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float, float]:
    """(second - first, low, high): difference of the rates with Newcombe's 95 % interval."""
    low, high = difference_interval(first, second)
    (k, n), (j, m) = first, second
    return ((j / m if m else 0.0) - (k / n if n else 0.0), low, high)
