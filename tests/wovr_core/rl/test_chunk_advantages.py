"""Credit of single chunks, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.rl.advantages import chunk_advantages, group_advantages

DISCOUNT = 0.99
PROMISES = torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.4, 0.6, 0.9, 0.9], [0.4, 0.3, 0.3, 0.1]])  # (G=3, K+1=4)
SUCCESS = torch.tensor([0, 13, 0])  # the second succeeds at the fifth action of its second chunk


def by_hand(trace: float) -> np.ndarray:
    """Sums over all n-step returns, as λ-returns are defined, instead of the recursion."""
    values, gamma = PROMISES.numpy().astype(float), DISCOUNT**8
    ends = [3, 2, 3]
    gains = np.full((3, 3), np.nan)
    for i in range(3):
        for k in range(ends[i]):
            n_step = []
            for n in range(1, ends[i] - k + 1):
                if i == 1 and k + n == 2:
                    n_step.append(DISCOUNT ** (12 - 8 * k))
                else:
                    n_step.append(gamma**n * values[i, k + n])
            weights = [(1 - trace) * trace**n for n in range(len(n_step) - 1)] + [trace ** (len(n_step) - 1)]
            gains[i, k] = np.dot(weights, n_step) - values[i, k]
    gains -= np.nanmean(gains, axis=0)
    gains[1, 2] = gains[1, 1]  # after the success: as the chunk that brought it
    return gains


@pytest.mark.parametrize("trace", [0.0, 0.6, 1.0])
def test_it_is_the_mean_of_n_step_returns(trace):
    found = chunk_advantages(PROMISES, SUCCESS, DISCOUNT, trace)
    np.testing.assert_allclose(found.numpy(), by_hand(trace), atol=1e-6)


def test_without_bootstrapping_the_first_chunk_has_grpos_advantage():
    found = chunk_advantages(PROMISES, SUCCESS, DISCOUNT, trace=1.0)
    returns = torch.tensor([DISCOUNT**24 * 0.3, DISCOUNT**12, DISCOUNT**24 * 0.1])
    torch.testing.assert_close(found[:, 0], group_advantages(returns))


def test_bad_requests():
    with pytest.raises(WovrError, match="trace must lie"):
        chunk_advantages(PROMISES, SUCCESS, DISCOUNT, 1.5)
    with pytest.raises(WovrError, match=r"\(G, K\+1\)"):
        chunk_advantages(PROMISES, SUCCESS[:2], DISCOUNT, 0.5)
