"""Correlated draws: every token keeps its odds, and a chunk's steps go one way."""

import math

import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.policy.sampling import log_prob_of, sample

BATCH, STEPS, DIMS, BINS = 20_000, 4, 2, 7


@pytest.fixture(scope="module")
def logits():
    one = torch.randn(STEPS, DIMS, BINS, generator=torch.Generator().manual_seed(3))
    return one.expand(BATCH, STEPS, DIMS, BINS)


def drawn(logits, correlation, temperature=0.8):
    return sample(logits, temperature, torch.Generator().manual_seed(11), correlation)


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_each_token_keeps_its_odds_and_its_log_probability(logits, correlation):
    tokens, log_probs = drawn(logits, correlation)
    odds = (logits[0] / 0.8).softmax(-1)
    seen = torch.nn.functional.one_hot(tokens, BINS).double().mean(0)  # (C, A, N)
    error = (odds * (1 - odds) / BATCH).sqrt()
    assert ((seen - odds).abs() < 5 * error).all()
    torch.testing.assert_close(log_probs, log_prob_of(logits, tokens, 0.8), rtol=0, atol=0)


def test_steps_of_one_dimension_go_together_and_dimensions_do_not(logits):
    # A fine and even grid: the token is the quantile, and Spearman's rank correlation follows from the copula's.
    even = torch.zeros(BATCH, STEPS, DIMS, 201)
    tokens, _ = drawn(even, 0.7)
    flat = tokens.reshape(BATCH, -1).double().T  # (C * A, B), steps first
    found = torch.corrcoef(flat).view(STEPS, DIMS, STEPS, DIMS)
    wanted = 6 / math.pi * math.asin(0.7 / 2)
    for first in range(STEPS):
        for second in range(STEPS):
            if first != second:
                for dim in range(DIMS):
                    assert abs(float(found[first, dim, second, dim]) - wanted) < 0.03
            assert abs(float(found[first, 0, second, 1])) < 0.03


def test_without_a_correlation_draws_are_what_they_were(logits):
    odds = (logits / 0.8).softmax(-1).flatten(0, -2)
    wanted = torch.multinomial(odds, 1, generator=torch.Generator().manual_seed(11)).view(logits.shape[:-1])
    assert torch.equal(drawn(logits, 0.0)[0], wanted)


@pytest.mark.parametrize("correlation", [-0.1, 1.0])
def test_a_correlation_out_of_bounds_is_refused(logits, correlation):
    with pytest.raises(WovrError, match=r"\[0, 1\)"):
        drawn(logits, correlation)
