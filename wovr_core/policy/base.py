"""What every policy of the library offers: act, and the exact log-probability of what it did."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from wovr_core.errors import WovrError
from wovr_core.plugins import ConfiguredPlugin
from wovr_core.types import FloatArray

ImitationLoss = Callable[..., tuple[torch.Tensor, dict[str, float]]]


@dataclass(frozen=True)
class ActionChunk:
    """A decision for the next C steps, for a batch of B observations."""

    actions: torch.Tensor
    """(B, C, A) float32 raw environment actions."""
    tokens: torch.Tensor
    """(B, C, A) int64: the bins that were sampled."""
    log_probs: torch.Tensor
    """(B, C, A) float32, of those tokens at the temperature they were sampled with."""


class Policy(Protocol):
    """Observation: the newest frame, the instruction, and the last executed action (known in imagination too)."""

    def act(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        correlation: float = 0.0,
    ) -> ActionChunk:
        """frames (B, H, W, 3) u8, previous_actions (B, A). Temperature 0 is greedy (log-probs then at 1).

        correlation: of the draws along the chunk's steps (`sampling.sample`). A policy may go without this argument:
            it is passed only where a recipe asks for it.
        """
        ...

    def log_prob(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        tokens: torch.Tensor,
        *,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """(B, C, A), differentiable."""
        ...


class TrainablePolicy(Policy, Protocol):
    """A policy that RL can improve: its log-probabilities have a gradient in its parameters."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them, frozen ones too."""
        ...


def drawing(policy: Policy, correlation: float) -> dict[str, float]:
    """Arguments of `Policy.act` that correlate the draws; none where they are independent.

    Raises:
        WovrError: a correlation, and a policy that cannot draw so.
    """
    if not correlation:
        return {}
    if "correlation" not in inspect.signature(policy.act).parameters:
        raise WovrError(
            f"{type(policy).__name__} cannot correlate its draws: give its `act` the argument `correlation` "
            "(see wovr_core.policy.sampling), or leave rl.correlation at 0"
        )
    return {"correlation": correlation}


@dataclass(frozen=True)
class PolicyPlugin(ConfiguredPlugin):
    """A kind of policy: of the library (`policies.TINY_VLA`), or of another package (`wovr.policies`)."""

    build: Callable[[Any, int], Any]
    """(configuration, seed of the weights) -> a `Policy` that is a `torch.nn.Module` and has its `config`."""
    imitation_loss: ImitationLoss | None = None
    """(policy, `policy.sft.SFTBatch`, generator, `policy.sft.SFTLossConfig`, *, autocast) -> (loss, metrics).
    Without it the policy is not taught by demonstrations here."""
    fit: Callable[[Any, FloatArray], None] | None = None
    """(policy, demonstrated actions (N, A)): called once before imitation, for bins and normalisers."""
