"""One group as the tensors that masked GRPO reads, whether its members were imagined or executed.

Imagined rollouts all have one length. Executed episodes end a little after their success: the shorter ones are
filled up with steps that the mask takes out.

Shapes: G members, K chunks, C steps, A action dimensions, T = K*C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.rl.advantages import chunk_advantages, discounted_return
from wovr_core.rl.loss_mask import valid_steps
from wovr_core.types import ACTION_DIM, CHUNK, NULL_ACTION, Episode, FloatArray, Rollout, RolloutGroup


@dataclass(frozen=True)
class GroupBatch:
    """What was seen at the head of each chunk, what was decided there, and what came of it."""

    instruction: str
    frames: torch.Tensor
    """(G, K, H, W, 3) u8, at the chunks' heads."""
    previous_actions: torch.Tensor
    """(G, K, A), before the chunks' heads."""
    tokens: torch.Tensor
    """(G, K, C, A) int64"""
    log_probs: torch.Tensor
    """(G, K, C, A), under the policy that acted."""
    loss_mask: torch.Tensor
    """(G, K, C) bool"""
    returns: torch.Tensor
    """(G,)"""
    advantages: torch.Tensor | None = None
    """(G, K) of single chunks (`chunk_advantages`); None: each rollout's return against the group's mean."""


def of_rollouts(
    group: RolloutGroup,
    post_success_mask: bool = True,
    outcome_worth: float = 0.0,
    discount: float = 1.0,
    trace: float | None = None,
) -> GroupBatch:
    """A group of imagined rollouts.

    Args:
        post_success_mask: whether steps after the first success are left out (WoVR), or count like the others (the
            ablation).
        outcome_worth: what a predicted success after the end is worth beside an imagined one, see `returns_of`.
        discount: of that prediction, per imagined action.
        trace: λ of `chunk_advantages`; None leaves the credit to whole rollouts.
    """
    rollouts = group.rollouts
    loss_mask = torch.stack([torch.from_numpy(r.loss_mask) for r in rollouts])
    return GroupBatch(
        instruction=rollouts[0].task.instruction,
        frames=torch.stack([torch.from_numpy(r.frames[:-1:CHUNK]) for r in rollouts]),
        previous_actions=torch.stack([_previous_actions(r.actions, r.context_actions[-1]) for r in rollouts]),
        tokens=torch.stack([torch.from_numpy(r.action_tokens) for r in rollouts]),
        log_probs=torch.stack([torch.from_numpy(r.log_probs) for r in rollouts]),
        loss_mask=loss_mask if post_success_mask else torch.ones_like(loss_mask),
        returns=torch.from_numpy(returns_of(group, outcome_worth, discount)),
        advantages=None if trace is None else _chunk_credit(group, outcome_worth, discount, trace),
    )


def _chunk_credit(group: RolloutGroup, outcome_worth: float, discount: float, trace: float) -> torch.Tensor:
    """(G, K); of chunks that are not believed (`Rollout.p_outcome` is shorter then) the last promise is kept."""
    promised = []
    for rollout in group.rollouts:
        if rollout.p_outcome is None:
            raise _unpredicted(rollout)
        missing = len(rollout.action_tokens) + 1 - len(rollout.p_outcome)
        promised.append(np.pad(outcome_worth * rollout.p_outcome, (0, missing), mode="edge"))
    ends = [int(r.loss_mask.sum()) if r.imagined_success else 0 for r in group.rollouts]
    return chunk_advantages(torch.from_numpy(np.stack(promised)), torch.tensor(ends), discount, trace)


def _unpredicted(rollout: Rollout) -> WovrError:
    return WovrError(
        f"rollout {rollout.id} carries no predicted outcome: its reward classifier was trained without "
        "reward.model.outcome; train it with --set reward.model.outcome=true, or set rl.outcome_worth=0"
    )


def returns_of(group: RolloutGroup, outcome_worth: float, discount: float) -> FloatArray:
    """(G,): each rollout's reward or, where it did not succeed, what its last frame promises.

        R_i = γ^(n_i - 1) with a success at action n_i,     R_i = w γ^(T_i) p_outcome(o_T_i) without

    A value at the end of a short rollout, as in MBPO (arXiv 1906.08253) and Dreamer (arXiv 1912.01603): what is decided
    at a grasp is learned from the frames just after it, before the world model has lost the object.

    Raises:
        WovrError: a worth is given, but the rollouts carry no prediction.
    """
    returns = group.rewards.copy()
    if not outcome_worth:
        return returns
    for i, rollout in enumerate(group.rollouts):
        if rollout.p_outcome is None:
            raise _unpredicted(rollout)
        if not rollout.reward:
            steps = CHUNK * (len(rollout.p_outcome) - 1)
            returns[i] = outcome_worth * discount**steps * rollout.p_outcome[-1]
    return returns


def of_episodes(episodes: Sequence[Episode], discount: float, post_success_mask: bool = True) -> GroupBatch:
    """A group of executed episodes from one start, each a whole number of chunks long.

    Raises:
        WovrError: no episode, or one without the policy's tokens and log-probabilities.
    """
    if not episodes:
        raise WovrError("a group needs at least one episode")
    chunks = max(e.length for e in episodes) // CHUNK
    heads, previous, tokens, log_probs, masks, outcomes = [], [], [], [], [], []
    for episode in episodes:
        if episode.action_tokens is None or episode.log_probs is None:
            raise WovrError(f"episode {episode.id} records no sampled tokens: it cannot train a policy")
        if episode.length % CHUNK or episode.length != episode.action_tokens.size // ACTION_DIM:
            raise WovrError(f"episode {episode.id} of {episode.length} actions is no whole number of chunks")
        success = torch.zeros(1, chunks * CHUNK, dtype=torch.bool)
        success[0, : episode.length] = torch.from_numpy(episode.success[1:])
        mask = valid_steps(success)[0] if post_success_mask else torch.ones(chunks * CHUNK, dtype=torch.bool)
        mask[episode.length :] = False
        heads.append(_padded(torch.from_numpy(episode.frames[:-1:CHUNK]), chunks))
        previous.append(_padded(_previous_actions(episode.actions, NULL_ACTION), chunks))
        tokens.append(_padded(torch.from_numpy(episode.action_tokens), chunks))
        log_probs.append(_padded(torch.from_numpy(episode.log_probs), chunks))
        masks.append(mask.view(chunks, CHUNK))
        outcomes.append(success[0])
    return GroupBatch(
        instruction=episodes[0].task.instruction,
        frames=torch.stack(heads),
        previous_actions=torch.stack(previous),
        tokens=torch.stack(tokens),
        log_probs=torch.stack(log_probs),
        loss_mask=torch.stack(masks),
        returns=discounted_return(torch.stack(outcomes), discount),
    )


def _previous_actions(actions: FloatArray, first: FloatArray) -> torch.Tensor:
    """(K, A): the action before each chunk's head."""
    return torch.from_numpy(np.concatenate([first[None], actions[CHUNK - 1 : -1 : CHUNK]]))


def _padded(rows: torch.Tensor, count: int) -> torch.Tensor:
    """(K, ...) -> (count, ...), the last row repeated: masked, but of a value that computes."""
    return torch.cat([rows, rows[-1:].expand(count - len(rows), *rows.shape[1:])])
