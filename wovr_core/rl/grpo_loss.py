"""Masked GRPO on one group of imagined rollouts (WoVR, arXiv 2602.13977).

    J(θ) = 1/G Σ_i 1/T_i_valid Σ_{t ≤ T_i_valid} 1/A Σ_a min( r_ita Â_i , clip(r_ita, 1-ε_low, 1+ε_high) Â_i )
    r_ita = π_θ(token_ita | o_it) / π_old(token_ita | o_it),      Â_i = R_i - mean_j R_j

The loss is -J. The clipped surrogate is PPO's (arXiv 1707.06347), its wider upper bound DAPO's "clip higher"
(arXiv 2503.14476). Ratios are taken per token, rewards belong to actions: all A tokens of an action share its
advantage and its weight. What GRPO (arXiv 2402.03300) has and this has not: the division of the advantage by
the group's deviation, the KL penalty (`reference_divergence` adds it where it is wanted); nor is there an entropy
bonus. A degenerate group (all returns equal) is dropped.

Shapes: G rollouts, K chunks, C steps, A action dimensions (tokens per action).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wovr_core.errors import WovrError
from wovr_core.rl.advantages import group_advantages, is_degenerate
from wovr_core.rl.loss_mask import step_weights

_MAX_LOG_RATIO = 20.0  # exp(20) is far beyond any clip; without a bound one token could overflow to inf * 0


@dataclass(frozen=True)
class GRPOConfig:
    """The trust region; the values are those RLinf published for WoVR."""

    clip_low: float = 0.2
    clip_high: float = 0.28


def grpo_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    returns: torch.Tensor,
    loss_mask: torch.Tensor,
    config: GRPOConfig = GRPOConfig(),
    advantages: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """-J(θ) of one group, and what happened in it.

    Args:
        log_probs: (G, K, C, A) under the policy that learns, with gradient.
        old_log_probs: (G, K, C, A) under the policy that acted, at the same temperature.
        returns: (G,) discounted returns.
        loss_mask: (G, K, C) bool, true up to and including the first success, less what annotations took out (see
            `loss_mask.mask_from_frame`).
        advantages: (G, K) of single chunks, in place of Â_i.

    Returns:
        A scalar loss (zero, with a zero gradient, for a degenerate group), and metrics: `dropped` (1 or 0),
        `return_mean`, `clip_fraction` (share of counted tokens whose gradient the clip removes), `approx_kl`
        (Schulman's estimator of KL(old || new), mean of r - 1 - ln r, not negative), `ratio_max`, `ratio_mean`,
        `valid_steps` (mean number of counted steps).

    Raises:
        WovrError: shapes that do not fit, or values that are not finite.
    """
    _check(log_probs, old_log_probs, returns, loss_mask)
    dropped = (advantages is None and is_degenerate(returns)) or not bool(loss_mask.any())
    metrics = {"dropped": float(dropped), "return_mean": float(returns.mean())}
    if dropped:
        return log_probs[:0].sum(), metrics  # zero, and yet part of the graph

    if advantages is None:
        advantages = group_advantages(returns)[:, None]
    advantages = advantages.to(log_probs)[:, :, None, None]  # (G, 1 or K, 1, 1)
    token_weights = step_weights(loss_mask).to(log_probs)[..., None] / log_probs.shape[-1]  # (G, K, C, 1)
    # Masked tokens are taken out before exp: nothing they hold can reach the loss or its gradient.
    log_ratio = (log_probs - old_log_probs.detach()).masked_fill(~loss_mask[..., None], 0.0)
    ratio = log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()  # (G, K, C, A)
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    loss = -(surrogate * token_weights).sum()

    with torch.no_grad():
        seen = loss_mask[..., None].expand_as(ratio)
        above = (ratio > 1 + config.clip_high) & (advantages > 0)
        below = (ratio < 1 - config.clip_low) & (advantages < 0)
        metrics |= {
            "clip_fraction": float((above | below)[seen].float().mean()),
            "approx_kl": float((ratio - 1 - log_ratio)[seen].mean()),
            "ratio_max": float(ratio[seen].max()),
            "ratio_mean": float(ratio[seen].mean()),
            "valid_steps": float(loss_mask.sum(dim=(1, 2)).float().mean()),
        }
    return loss, metrics


def reference_divergence(
    log_probs: torch.Tensor, reference_log_probs: torch.Tensor, loss_mask: torch.Tensor
) -> torch.Tensor:
    """How far the policy has gone from a reference, in nats per token: GRPO's penalty (arXiv 2402.03300, eq. 4).

        1/G Σ_i 1/T_i_valid Σ_t 1/A Σ_a ( π_ref/π_θ - 1 - ln π_ref/π_θ ),  about KL(π_θ || π_ref), never negative

    Args:
        log_probs: (G, K, C, A) under the policy that learns, with gradient; of tokens that it, or nearly it, has drawn.
        reference_log_probs: (G, K, C, A) of the same tokens.
        loss_mask: (G, K, C) bool.
    """
    token_weights = step_weights(loss_mask).to(log_probs)[..., None] / log_probs.shape[-1]
    log_ratio = (reference_log_probs.detach() - log_probs).masked_fill(~loss_mask[..., None], 0.0)
    log_ratio = log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return ((log_ratio.exp() - 1 - log_ratio) * token_weights).sum()


def _check(
    log_probs: torch.Tensor, old_log_probs: torch.Tensor, returns: torch.Tensor, loss_mask: torch.Tensor
) -> None:
    if log_probs.ndim != 4 or log_probs.shape != old_log_probs.shape:
        raise WovrError(
            "log_probs and old_log_probs must both be (G, K, C, A), "
            f"got {tuple(log_probs.shape)} and {tuple(old_log_probs.shape)}"
        )
    steps = log_probs.shape[:3]
    if returns.shape != steps[:1]:
        raise WovrError(f"returns must be (G,) = {tuple(steps[:1])}, got {tuple(returns.shape)}")
    if loss_mask.shape != steps or loss_mask.dtype != torch.bool:
        got = f"{loss_mask.dtype} {tuple(loss_mask.shape)}"
        raise WovrError(f"loss_mask must be bool (G, K, C) = {tuple(steps)}, got {got}")
    counted = loss_mask[..., None].expand_as(log_probs)
    if not (torch.isfinite(log_probs.detach()[counted]).all() and torch.isfinite(old_log_probs[counted]).all()):
        raise WovrError("log-probabilities of counted steps hold NaN or infinite values")
