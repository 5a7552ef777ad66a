"""Returns of imagined rollouts and their group-relative advantages.

WoVR, arXiv 2602.13977, section on masked GRPO; GRPO itself is from DeepSeekMath, arXiv 2402.03300. Against the
latter's equation, the advantage is *not* divided by the group's standard deviation (as in Dr. GRPO, arXiv
2503.20783): dividing would magnify groups in which nearly all siblings agree.

Shapes: G rollouts of a group, T steps.
"""

from __future__ import annotations

import torch

from wovr_core.errors import WovrError
from wovr_core.types import CHUNK

EQUAL = 1e-6
"""Returns closer than this are the same: the group says nothing about what was better."""


def first_success(success: torch.Tensor) -> torch.Tensor:
    """How many actions each rollout took to its first success.

    Args:
        success: (G, T) bool; success[:, t] says whether the frame to which step t led shows success. The frame
            at which the rollout started is left out: no action led there.

    Returns:
        (G,) int64 in 1..T, or 0 where there is no success.
    """
    if success.dtype != torch.bool or success.ndim != 2 or success.shape[1] == 0:
        raise WovrError(f"success must be bool (G, T), T > 0; got {success.dtype} {tuple(success.shape)}")
    steps = success.to(torch.uint8).argmax(dim=1) + 1  # argmax: the first of the largest
    return torch.where(success.any(dim=1), steps, torch.zeros_like(steps))


def discounted_return(success: torch.Tensor, discount: float) -> torch.Tensor:
    """R_i = γ^(n_i - 1), n_i the number of actions up to the first success; 0 without one.

    The reward is 1 at the first success and the rollout is over, so the return has this one term.

    Args:
        success: (G, T) bool, as in `first_success`.
        discount: γ in (0, 1]; below 1, an earlier success is worth more.

    Returns:
        (G,) float32.
    """
    if not 0 < discount <= 1:
        raise WovrError(f"the discount must lie in (0, 1], got {discount}")
    steps = first_success(success)
    returns = torch.pow(torch.tensor(discount, dtype=torch.float64), (steps - 1).double())
    return torch.where(steps > 0, returns, torch.zeros_like(returns)).float()


def group_advantages(returns: torch.Tensor) -> torch.Tensor:
    """A_i = R_i - mean_j R_j, exactly zero throughout for a group whose returns are all equal.

    Args:
        returns: (G,) of one group.

    Returns:
        (G,) float32.
    """
    if returns.ndim != 1 or len(returns) == 0:
        raise WovrError(f"a group's returns must have shape (G,), G > 0; got {tuple(returns.shape)}")
    if not torch.isfinite(returns).all():
        raise WovrError("a group's returns hold NaN or infinite values")
    if is_degenerate(returns):
        return torch.zeros(len(returns), dtype=torch.float32)
    wide = returns.double()
    return (wide - wide.mean()).float()


def chunk_advantages(p_outcome: torch.Tensor, success_at: torch.Tensor, discount: float, trace: float) -> torch.Tensor:
    """Advantages of single chunks: how much better than promised did it go from here, less what siblings gained?

        L_k = γ^(n_i - 1 - C k)                             where chunk k holds the first success
        L_k = γ^C ((1 - λ) v_k+1 + λ L_k+1),  L_K = v_K     elsewhere; v_k = p_outcome before chunk k
        A_ik = L_k - v_k,  less the mean over the siblings that have not ended before chunk k

    The λ-return of Dreamer (arXiv 1912.01603, eq. 6) over chunks. At λ = 1 the first chunk's advantage is masked GRPO's
    R_i - mean_j R_j; below 1 a chunk is credited with the change of the prediction that it brought about, which varies
    far less than the outcome of the whole rollout.

    Args:
        p_outcome: (G, K+1) predicted probability of success in the end, at the start and after each chunk.
        success_at: (G,) int64, actions up to the first success, 0 without one (`first_success`).
        discount: γ per action.
        trace: λ in [0, 1].

    Returns:
        (G, K) float32. A chunk after the one that succeeded has that one's advantage.
    """
    group, chunks = p_outcome.shape[0], p_outcome.shape[1] - 1
    if chunks < 1 or success_at.shape != (group,):
        raise WovrError(f"p_outcome must be (G, K+1), success_at (G,); got {p_outcome.shape}, {success_at.shape}")
    if not 0 <= trace <= 1:
        raise WovrError(f"the trace must lie in [0, 1], got {trace}")
    value = p_outcome.double()
    last = torch.where(success_at > 0, (success_at - 1) // CHUNK, chunks - 1)  # (G,) the chunk that ends it
    advantages = torch.zeros(group, chunks, dtype=torch.float64)
    ahead = value[:, -1]
    for k in reversed(range(chunks)):
        onward = discount**CHUNK * torch.lerp(value[:, k + 1], ahead, trace)
        reached = torch.pow(torch.tensor(discount, dtype=torch.float64), (success_at - 1 - CHUNK * k).double())
        ahead = torch.where((success_at > 0) & (last == k), reached, onward)
        going = (last >= k).double()
        gained = ahead - value[:, k]
        advantages[:, k] = gained - (gained * going).sum() / going.sum().clamp(min=1)
    ended = torch.minimum(torch.arange(chunks).expand(group, -1), last[:, None])
    return advantages.gather(1, ended).float()


def has_contrast(success: torch.Tensor, low: float, high: float) -> bool:
    """Whether the share of successful siblings lies in [low, high].

    RLinf drops groups outside [0.1, 0.9]. Where nearly all siblings end alike, what is left to compare is who was
    a step faster; an optimiser that normalises gradients would follow that noise at full stride.

    Args:
        success: (G,) bool.
    """
    return low <= float(success.float().mean()) <= high


def is_degenerate(returns: torch.Tensor) -> bool:
    """Whether all returns of the group (G,) are the same: nothing to learn, the group is dropped."""
    return bool(returns.max() - returns.min() < EQUAL)
