"""Which steps of an imagined rollout count, and how much each of them weighs.

WoVR, arXiv 2602.13977, masked GRPO: T_i_valid counts the steps up to and including the first success; later
steps are masked, and each rollout is normalised by its own T_i_valid.

Granularity: the mask is kept per *step*, so a chunk in which success falls is counted up to that step only.
This is exact and not an approximation, because the policy decodes a chunk's tokens in parallel: given the
observation at the chunk's head they are independent, so those after the success neither led to it nor
condition what came before. Later chunks are masked whole.

Shapes: G rollouts, K chunks, C steps of a chunk, T = K*C.
"""

from __future__ import annotations

import torch

from wovr_core.errors import WovrError
from wovr_core.rl.advantages import first_success


def valid_steps(success: torch.Tensor) -> torch.Tensor:
    """True for each step up to and including the first success; T_i_valid is a row's sum.

    Args:
        success: (G, T) bool; success[:, t] says whether the frame to which step t led shows success.

    Returns:
        (G, T) bool; all true in a rollout without success.
    """
    steps = first_success(success)
    last = torch.where(steps > 0, steps, torch.full_like(steps, success.shape[1]))
    return torch.arange(success.shape[1], device=success.device) < last[:, None]


def mask_from_frame(loss_mask: torch.Tensor, rollout: int, frame: int) -> torch.Tensor:
    """A copy of the mask without what a flagged hallucination spoils: rollout `rollout` from `frame` on.

    Step t leads to frame t+1, so the step that produced the flagged frame, `frame - 1`, goes too; if it is
    frame 0, the whole rollout goes.

    Args:
        loss_mask: (G, K, C) bool.

    Returns:
        (G, K, C) bool.
    """
    groups, chunks, chunk = loss_mask.shape
    if not 0 <= rollout < groups:
        raise WovrError(f"rollout {rollout} is not in a group of {groups}")
    if not 0 <= frame <= chunks * chunk:
        raise WovrError(f"frame {frame} is not in a rollout of {chunks * chunk + 1} frames")
    masked = loss_mask.clone()
    masked[rollout].view(-1)[max(frame - 1, 0) :] = False
    return masked


def step_weights(loss_mask: torch.Tensor) -> torch.Tensor:
    """What each step weighs in the objective: 1 / (G * T_i_valid) where it counts, 0 where it is masked.

    Where annotations have masked further steps, T_i_valid is the number of steps that are left. A rollout
    of which nothing is left weighs nothing, but G stays: its siblings do not gain by its going.

    Args:
        loss_mask: (G, K, C) bool.

    Returns:
        (G, K, C) float32; each rollout's weights sum to 1/G, or 0.
    """
    if loss_mask.dtype != torch.bool or loss_mask.ndim != 3:
        raise WovrError(f"loss_mask must be bool of shape (G, K, C), got {loss_mask.dtype} {tuple(loss_mask.shape)}")
    count = loss_mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)  # (G, 1, 1)
    return loss_mask / (count * len(loss_mask))
