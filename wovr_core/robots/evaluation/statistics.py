"""What the counts of an evaluation say: intervals of each rate, and the declared test between two policies."""

from __future__ import annotations

from dataclasses import dataclass

from wovr_core.errors import WovrError
from wovr_core.statistics import difference_interval, proportion_interval


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
    return float(min(barnard_exact([[k, j], [n - k, m - j]], alternative="two-sided", pooled=True).pvalue, 1.0))


def difference(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float, float]:
    """(second - first, low, high): difference of the rates with Newcombe's 95 % interval."""
    low, high = difference_interval(first, second)
    (k, n), (j, m) = first, second
    return ((j / m if m else 0.0) - (k / n if n else 0.0), low, high)
