"""Rectified flow over latent frames: the loss on the future, and the Euler solver that imagines it.

Time convention: sigma in [0, 1] is the share of noise, x_sigma = (1 - sigma) data + sigma noise, so sigma = 1 is pure
noise and 0 is data (the paper's t is 1 - sigma). The velocity is dx/dsigma = noise - data. The network is told
timestep = 1000 sigma, as Wan is; context latents are told 0. (WoVR, arXiv 2602.13977, section 3.1.)

Shapes: B batch, P context latent frames, Q future latent frames, L = P + Q, Dc channels, h, w.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from wovr_core.errors import WovrError

TIMESTEPS = 1000.0

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(latents (B, L, Dc, h, w), sigmas (B, L)) -> velocity (B, L, Dc, h, w); the context's part is ignored."""


def logit_normal(batch: int, generator: torch.Generator, mean: float = 0.0, deviation: float = 1.0) -> torch.Tensor:
    """Training times: sigma = sigmoid(mean + deviation * n), n standard normal; (B,), strictly inside (0, 1)."""
    return torch.sigmoid(mean + deviation * torch.randn(batch, generator=generator))


def solver_sigmas(steps: int, shift: float = 1.0) -> torch.Tensor:
    """The solver's times from 1 down to 0: `steps` + 1 values, bent by shift * s / (1 + (shift - 1) * s).

    RLinf's published setting of the 5B model is shift 5; 1 leaves them evenly spaced.
    """
    if steps < 1:
        raise WovrError(f"solver_steps must be at least 1, got {steps}")
    even = torch.linspace(1, 0, steps + 1)
    return shift * even / (1 + (shift - 1) * even)


def row_noise(shape: Sequence[int], generators: Sequence[torch.Generator] | torch.Generator) -> torch.Tensor:
    """Standard normal noise of `shape` (B, ...).

    Args:
        generators: one for all, or one per row, so that a row's noise does not depend on its batch mates.
    """
    if isinstance(generators, torch.Generator):
        return torch.randn(*shape, generator=generators)
    if len(generators) != shape[0]:
        raise WovrError(f"need one generator for each of the {shape[0]} rows, got {len(generators)}")
    return torch.stack([torch.randn(*shape[1:], generator=g) for g in generators])


def noisy_context(
    context: torch.Tensor, strength: float, generator: torch.Generator, reference: int = 1
) -> torch.Tensor:
    """Blend noise into the recent context, never into the reference, by a share drawn per row from [0, strength].

    The network is not told how much, and so learns not to copy its context blindly.

    Args:
        context: (B, P, Dc, h, w); the first `reference` latent frames stay untouched.
    """
    recent = context[:, reference:]
    share = strength * torch.rand(len(context), 1, 1, 1, 1, generator=generator).to(context.device)
    noise = torch.randn(recent.shape, generator=generator).to(context.device)
    return torch.cat([context[:, :reference], (1 - share) * recent + share * noise], dim=1)


def flow_loss(
    velocity: Velocity,
    context: torch.Tensor,
    future: torch.Tensor,
    sigmas: torch.Tensor,
    noise: torch.Tensor,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared error of the velocity on the future latents only.

    Args:
        velocity: the network.
        context: (B, P, Dc, h, w), as the network shall see it (noisy already, if it shall be).
        future: (B, Q, Dc, h, w), data.
        sigmas: (B,), one time per row.
        noise: (B, Q, Dc, h, w).
        weight: broadcastable to (B, Q, Dc, h, w); the loss is the weighted mean.

    Returns:
        scalar
    """
    s = sigmas.view(-1, 1, 1, 1, 1)
    blended = (1 - s) * future + s * noise
    known = context.shape[1]
    times = torch.cat([sigmas.new_zeros(len(sigmas), known), sigmas[:, None].expand(-1, future.shape[1])], dim=1)
    predicted = velocity(torch.cat([context, blended], dim=1), times)[:, known:]
    error = (predicted.float() - (noise - future)).square()
    if weight is None:
        return error.mean()
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def imagine(
    velocity: Velocity, context: torch.Tensor, noise: torch.Tensor, steps: int, shift: float = 1.0
) -> torch.Tensor:
    """Integrate from noise to data with Euler steps, the context imposed anew after each one.

    Args:
        velocity: the network.
        context: (B, P, Dc, h, w), clean.
        noise: (B, Q, Dc, h, w), where the future starts.
        steps: solver steps.
        shift: see `solver_sigmas`.

    Returns:
        (B, P + Q, Dc, h, w); the first P latent frames are `context`, bit for bit.
    """
    known = context.shape[1]
    sigmas = solver_sigmas(steps, shift).tolist()
    x = torch.cat([context, noise], dim=1)
    for now, following in pairwise(sigmas):
        times = torch.full(x.shape[:2], now, device=x.device)
        times[:, :known] = 0
        x = x + (following - now) * velocity(x, times).float()
        x[:, :known] = context
    return x
