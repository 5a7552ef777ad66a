"""How many trials an evaluation needs, and what looking at it early does: exact where possible, else simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.sequential import e_process

GRID = 301
"""Common rates at which a whole table of p-values is evaluated: within 1e-3 of `statistics.barnard`."""
MOST = 200
"""Trials of each policy: a table holds the square of it."""

Matrix = npt.NDArray[np.float64]


def barnard_table(trials: int) -> Matrix:
    """(trials + 1, trials + 1) two-sided p-values of Barnard's exact test, by the successes of both policies.

    `statistics.barnard` of all outcomes at once: tables are ordered by their pooled z, and a table's p-value is the
    largest probability, over the common rates, of those that come no later.

    Raises:
        WovrError: no trials, or more than MOST.
    """
    from scipy.stats import binom

    if not 1 <= trials <= MOST:
        raise WovrError(f"trials {trials}: a table of p-values is made for 1 to {MOST}")
    k = np.arange(trials + 1)
    pooled = (k[:, None] + k) / (2 * trials)
    spread = np.sqrt(pooled * (1 - pooled) * 2 / trials)
    z = (np.abs(k[:, None] - k) / trials / np.where(spread > 0, spread, np.inf)).ravel()
    order = np.argsort(-z, kind="stable")
    # Tables of equal z belong together: each takes the sum up to the last of them.
    last = np.searchsorted(-z[order], -z[order] + 1e-9, side="right") - 1
    p = np.zeros(len(z))
    for rate in np.linspace(0, 1, GRID):
        one = binom.pmf(k, trials, rate)
        summed = np.cumsum(np.outer(one, one).ravel()[order])
        p[order] = np.maximum(p[order], summed[last])
    return np.minimum(p, 1.0).reshape(trials + 1, trials + 1)


def power(rates: tuple[float, float], trials: int, alpha: float = 0.05) -> float:
    """Probability that Barnard's test after `trials` of each policy finds policies of these rates different. Exact;
    for equal rates it is the test's false-alarm rate.

    Raises:
        WovrError: a rate or alpha that is none, or trials as in `barnard_table`.
    """
    from scipy.stats import binom

    if not all(0 <= r <= 1 for r in rates) or not 0 < alpha < 1:
        raise WovrError(f"rates {rates} lie from 0 to 1, and alpha {alpha} between them")
    k = np.arange(trials + 1)
    odds = np.outer(binom.pmf(k, trials, rates[0]), binom.pmf(k, trials, rates[1]))
    return float(odds[barnard_table(trials) <= alpha].sum())


def trials_needed(
    rates: tuple[float, float], wanted: float = 0.8, alpha: float = 0.05, candidates: Sequence[int] = range(5, 101, 5)
) -> int | None:
    """The fewest of the candidate numbers of trials (of each policy) with this power; None where none has it."""
    return next((n for n in candidates if power(rates, n, alpha) >= wanted), None)


def rejected_by(
    outcomes: npt.NDArray[np.bool_], alpha: float, test: Literal["peeking", "sequential"], first: int = 5
) -> Matrix:
    """Share of evaluations that have ended in "different" after each block, if one looks after every block.

    Args:
        outcomes: (R, B, 2) of R repetitions, B blocks and both policies.
        test: "peeking", Barnard's test anew after each block, which nothing allows; or "sequential", the e-value.
        first: the first look of the one who peeks; the e-value needs none.

    Returns:
        (B,), never falling.
    """
    if test == "sequential":
        rejected = e_process(outcomes) >= 1 / alpha
    else:
        successes = outcomes.cumsum(axis=1)
        rejected = np.zeros(outcomes.shape[:2], dtype=bool)
        for block in range(first - 1, outcomes.shape[1]):
            small = barnard_table(block + 1) <= alpha
            rejected[:, block] = small[successes[:, block, 0], successes[:, block, 1]]
    return np.asarray(np.maximum.accumulate(rejected, axis=1).mean(axis=0))
