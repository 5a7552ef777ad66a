"""Two arms over the same initial states: paired differences of their rows, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from workbench.reproduce.results import Row
from wovr_core.statistics import PairedComparison, bootstrap_interval, compare_paired, difference_interval

Outcomes = dict[tuple[str, int, int, int], bool]
"""(suite, task, seed, initial state) -> success"""


def outcomes(rows: Iterable[Row]) -> Outcomes:
    """Every trial that the rows record."""
    return {
        (r["suite"], r["task"], r["seed"], index): flag == "1"
        for r in rows
        for index, flag in enumerate(r.get("outcomes", ""))
    }


def paired(first: Iterable[Row], second: Iterable[Row]) -> tuple[PairedComparison, tuple[float, float]]:
    """Second against first over the trials that both ran, and the bootstrap interval over tasks as clusters.

    A first arm with one seed (a greedy base policy) stands against every seed of the second.
    """
    a, b = outcomes(first), outcomes(second)
    alone = {(suite, task, state): flag for (suite, task, _, state), flag in a.items()}
    single = len({seed for _, _, seed, _ in a}) == 1
    keys = [key for key in b if key in a or (single and (key[0], key[1], key[3]) in alone)]
    left = [a[k] if k in a else alone[k[0], k[1], k[3]] for k in keys]
    right = [b[k] for k in keys]
    comparison = compare_paired(left, right)
    differences = [float(y) - float(x) for x, y in zip(left, right, strict=True)]
    clusters = [f"{k[0]}/{k[1]}" for k in keys]
    return comparison, bootstrap_interval(differences, np.random.default_rng(0), clusters)


def describe_difference(first: Sequence[Row], second: Sequence[Row]) -> str:
    """ "+12 points [+3, +21], p = 0.011, n = 100 pairs; tasks as clusters [-4, +25]"."""
    comparison, (low, high) = paired(first, second)
    if comparison.trials:
        return f"{comparison}; tasks as clusters [{100 * low:+.0f}, {100 * high:+.0f}]"
    (k, n), (m, o) = ((sum(r["successes"] for r in rows), sum(r["trials"] for r in rows)) for rows in (first, second))
    if not n or not o:
        return "-"
    low, high = difference_interval((k, n), (m, o))
    return f"{100 * (m / o - k / n):+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}], unpaired"
