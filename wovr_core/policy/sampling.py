"""Tokens out of logits, for every policy that decodes a chunk's tokens at once and independently of each other.

Shapes: (...) any leading axes, such as B, C, A; N bins.
"""

from __future__ import annotations

import torch

from wovr_core.errors import WovrError


def sample(
    logits: torch.Tensor, temperature: float, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose a token at every place.

    Args:
        logits: (..., N) float32.
        temperature: 0 takes the likeliest one.
        generator: of the draws; not needed at temperature 0.

    Returns:
        Tokens (...) int64, and their log-probabilities (...) at the temperature (at 1 for the likeliest).

    Raises:
        WovrError: a negative temperature, or sampling without a generator.
    """
    if temperature < 0:
        raise WovrError(f"temperature must not be negative, got {temperature}")
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, log_prob_of(logits, tokens, 1.0)
    if generator is None:
        raise WovrError("sampling with a temperature needs a generator (the global one is never drawn from)")
    odds = (logits / temperature).softmax(-1).flatten(0, -2)
    tokens = torch.multinomial(odds, 1, generator=generator).view(logits.shape[:-1])
    return tokens, log_prob_of(logits, tokens, temperature)


def log_prob_of(logits: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits (..., N), tokens (...) -> exact log-probabilities (...) at the temperature, differentiable.

    Raises:
        WovrError: a temperature that is not positive.
    """
    if temperature <= 0:
        raise WovrError(f"log_prob needs a positive temperature, got {temperature}")
    return (logits / temperature).log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
