"""Tokens out of logits, for every policy that decodes a chunk's tokens at once and independently of each other.

Shapes: (...) any leading axes, such as B, C, A; N bins.
"""

from __future__ import annotations

import math

import torch

from wovr_core.errors import WovrError


def sample(
    logits: torch.Tensor, temperature: float, generator: torch.Generator | None, correlation: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a token at every place.

    Args:
        logits: (..., N) float32.
        temperature: 0 takes the likeliest one.
        generator: of the draws; not needed at temperature 0.
        correlation: ρ in [0, 1) of the draws along a chunk's steps; needs logits (B, C, A, N), see
            `_correlated_tokens`. Each single token keeps its odds.

    Returns:
        Tokens (...) int64, and their log-probabilities (...) at the temperature (at 1 for the likeliest).

    Raises:
        WovrError: a negative temperature, a correlation out of bounds, or sampling without a generator.
    """
    if temperature < 0:
        raise WovrError(f"temperature must not be negative, got {temperature}")
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, log_prob_of(logits, tokens, 1.0)
    if generator is None:
        raise WovrError("sampling with a temperature needs a generator (the global one is never drawn from)")
    if not 0 <= correlation < 1:
        raise WovrError(f"the correlation of draws must lie in [0, 1), got {correlation}")
    odds = (logits / temperature).softmax(-1)
    if correlation:
        tokens = _correlated_tokens(odds, correlation, generator)
    else:
        tokens = torch.multinomial(odds.flatten(0, -2), 1, generator=generator).view(logits.shape[:-1])
    return tokens, log_prob_of(logits, tokens, temperature)


def _correlated_tokens(odds: torch.Tensor, correlation: float, generator: torch.Generator) -> torch.Tensor:
    """(B, C, A, N) -> (B, C, A): draws through a Gaussian copula, by inversion of each token's own distribution.

        z_ca = √ρ s_a + √(1-ρ) e_ca with s, e ~ N(0, 1),     token_ca = F_ca^-1(Φ(z_ca))

    Bins are in order, so an action dimension that is drawn high at one step is drawn high at its neighbours:
    independent draws cancel within a chunk, these move the arm. (Exploration by noise correlated in time: arXiv
    2312.11091.) The sum of the tokens' own scores still points uphill: for Gaussian actions, the gradient times the
    draws' covariance.
    """
    batch, steps, dims, bins = odds.shape
    shared = torch.randn(batch, 1, dims, generator=generator, device=generator.device)
    own = torch.randn(batch, steps, dims, generator=generator, device=generator.device)
    quantile = torch.special.ndtr(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
    tokens = torch.searchsorted(odds.cumsum(-1), quantile.to(odds)[..., None], right=True).squeeze(-1)
    return tokens.clamp(max=bins - 1)  # rounding may leave the sum of all odds below the quantile


def log_prob_of(logits: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits (..., N), tokens (...) -> exact log-probabilities (...) at the temperature, differentiable.

    Raises:
        WovrError: a temperature that is not positive.
    """
    if temperature <= 0:
        raise WovrError(f"log_prob needs a positive temperature, got {temperature}")
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
