"""A test that may be looked at after every pair of trials: e-values for two success rates.

Source: R. J. Turner, A. Ly, P. D. Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping", Journal of Statistical Planning and Inference 230 (2024). For a block of one trial of each policy
with outcomes y_a, y_b, and rates a, b guessed from *earlier* blocks,

    e = p_a(y_a) p_b(y_b) / (p_m(y_a) p_m(y_b)),   m = (a + b) / 2,   p_r(y) = r^y (1 - r)^(1 - y).

If both policies succeed at any common rate r, the two factors have expectations 1 + x and 1 - x, so e has 1 - x^2 <= 1;
the product over blocks is a supermartingale and by Ville's inequality ever reaches 1/alpha with probability <= alpha.
So one may stop as soon as it does, and the type-I error holds whatever else made one look or stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError

PRIOR = 0.18
"""Both parameters of the Beta prior of a rate, which that paper found to lose least over many true rates."""

Outcomes = Sequence[tuple[bool, bool]] | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SequentialResult:
    """Where a sequential test stands."""

    alpha: float
    e_values: tuple[float, ...]
    """The running product after each block."""
    stopped_at: int | None
    """The block (from 1) at which it first reached 1/alpha, or None."""

    @property
    def p_value(self) -> float:
        """Valid at any time: one over the largest e-value so far, at most 1."""
        return min(1.0, 1.0 / max(self.e_values, default=1.0))


def sequential_test(blocks: Outcomes, alpha: float) -> SequentialResult:
    """blocks: (B, 2) outcomes of both policies, in the order of the schedule. Raises WovrError for a wrong alpha."""
    if not 0 < alpha < 1:
        raise WovrError(f"alpha {alpha} is not between 0 and 1")
    table = np.asarray(blocks, dtype=bool).reshape(-1, 2)
    values = e_process(table[None])[0]
    over = np.flatnonzero(values >= 1 / alpha)
    return SequentialResult(alpha, tuple(float(v) for v in values), int(over[0]) + 1 if len(over) else None)


def e_process(blocks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(R, B, 2) outcomes of R repetitions -> (R, B) running products. The same whichever policy is called first."""
    repetitions, count, _ = blocks.shape
    successes = np.zeros((repetitions, 2))
    log_e = np.zeros(repetitions)
    running = np.empty((repetitions, count))
    for block in range(count):
        rates = (successes + PRIOR) / (block + 2 * PRIOR)  # (R, 2), from earlier blocks only
        common = rates.mean(axis=1, keepdims=True)
        outcome = blocks[:, block]
        log_e = log_e + (np.log(np.where(outcome, rates, 1 - rates) / np.where(outcome, common, 1 - common))).sum(1)
        running[:, block] = np.exp(log_e)
        successes += outcome
    return running


def rejection_rate(
    rates: tuple[float, float], blocks: int, alpha: float, generator: np.random.Generator, repetitions: int = 4000
) -> tuple[float, float]:
    """(share of simulated evaluations that reject equality, mean number of blocks until they end).

    With equal rates the first is the type-I error, otherwise the power.
    """
    outcomes = generator.random((repetitions, blocks, 2)) < np.asarray(rates)
    over = e_process(outcomes) >= 1 / alpha
    rejected = over.any(axis=1)
    ends = np.where(rejected, over.argmax(axis=1) + 1, blocks)
    return float(rejected.mean()), float(ends.mean())
