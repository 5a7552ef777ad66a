"""The loss of imitation, for every policy that decodes a chunk's tokens at once and independently of each other."""

from __future__ import annotations

import torch


def token_loss(
    logits: torch.Tensor, tokens: torch.Tensor, mask_padding: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Cross-entropy of the demonstrated tokens, averaged over all that are not padding.

    Args:
        logits: (B, C, A, N), neighbouring bins being neighbouring values.
        tokens: (B, C, A) int64.
        mask_padding: (B, C) bool, true where there is an action.
        smoothing: share of the label's weight given to the two neighbouring bins together.
    """
    log_probs = logits.float().log_softmax(-1)
    picked = log_probs.gather(-1, tokens[..., None]).squeeze(-1)
    if smoothing > 0:
        last = logits.shape[-1] - 1
        beside = torch.stack([(tokens - 1).clamp(min=0), (tokens + 1).clamp(max=last)], dim=-1)
        picked = (1 - smoothing) * picked + smoothing * log_probs.gather(-1, beside).mean(-1)
    mask = mask_padding[..., None].expand_as(picked)
    return -(picked * mask).sum() / mask.sum().clamp(min=1)
