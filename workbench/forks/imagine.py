"""Imagine a fork: the rollout's own chunks with its own noise, the changed chunk, and what then follows.

The world model's noise is the rollout's, chunk by chunk, so that whatever differs was caused by the actions. The
policy's samples have a seed of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from workbench.branch import judged, keyframe_of
from workbench.forks.plan import Plan, PlanError, hold
from wovr_core.errors import WovrError
from wovr_core.policy.base import Policy
from wovr_core.seeding import torch_generator
from wovr_core.types import CHUNK, Rollout
from wovr_core.world_model.env import WorldModelEnv

_LONGEST_ID = 120


class Cancelled(WovrError):
    """Nobody waits for it any more."""


@dataclass(frozen=True)
class Fork:
    """A fork beside what it branched from."""

    rollout: Rollout
    original: Rollout
    plan: Plan
    prefix_difference: float
    """Mean absolute difference, of 255, between the chunks that stayed as they were and the same imagined again: not
    zero where another machine drew the original, or a batch of another size."""


@torch.no_grad()
def imagine_fork(
    env: WorldModelEnv,
    policy: Policy | None,
    original: Rollout,
    plan: Plan,
    *,
    discount: float = 0.995,
    author: str = "",
    on_chunk: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fork:
    """Imagine it chunk by chunk.

    Args:
        env: of the checkpoints that drew `original`; only this call may use it meanwhile.
        policy: where the plan needs one.
        discount: per action, of the return.
        on_chunk: told after each chunk.
        stop: asked before each chunk.

    Returns:
        A fork whose rollout has an id of its own. What the original shares is the original's, to the bit. Of actions
        that no policy sampled, the tokens are -1; log-probabilities are NaN where the frames or actions were others
        than those that the policy decided on.

    Raises:
        PlanError: no policy where one is needed, or more chunks than `env` imagines.
        Cancelled: `stop` said so.
    """
    if plan.needs_policy and policy is None:
        raise PlanError("the policy that acted is no longer in this run: edit the chunk, and keep the later actions")
    total = plan.chunk + plan.chunks
    if total > env.config.max_chunks:
        raise PlanError(f"this world model is set up to imagine {env.config.max_chunks} chunks, not {total}")
    before = original.actions[: plan.chunk * CHUNK].reshape(plan.chunk, CHUNK, original.actions.shape[1])
    start = env.reset([keyframe_of(original)], [original.sampler_seed])
    frame, previous = start.frames, start.previous_actions
    generator = torch_generator(plan.seed, "fork", original.id, plan.chunk)
    frames, p_success = [start.frames[:, None]], [start.p_success[:, None]]
    actions, tokens, log_probs = [], [], []
    for k in range(total):
        if stop():
            raise Cancelled("cancelled")
        if k < plan.chunk:
            chunk, token, log_prob = before[k], original.action_tokens[k], original.log_probs[k]
        else:
            chunk, token, log_prob = _decide(policy, original, plan, k, frame, previous, generator)
        step = env.step(torch.from_numpy(np.ascontiguousarray(chunk, dtype=np.float32))[None])
        frames.append(step.frames)
        p_success.append(step.p_success)
        actions.append(chunk)
        tokens.append(token)
        log_probs.append(log_prob)
        frame, previous = step.frames[:, -1], torch.from_numpy(np.array(chunk[-1:], dtype=np.float32))
        on_chunk(k + 1, total)
    drawn, p = torch.cat(frames, 1)[0].numpy(), torch.cat(p_success, 1)[0].float().numpy()
    shared = plan.chunk * CHUNK + 1
    difference = float(np.abs(drawn[:shared].astype(np.int16) - original.frames[:shared]).mean())
    drawn[:shared], p[:shared] = original.frames[:shared], original.p_success[:shared]
    all_actions = np.concatenate(actions).astype(np.float32)
    rollout = replace(
        original,
        id=fork_id(original, plan, all_actions),
        frames=drawn,
        actions=all_actions,
        action_tokens=np.stack(tokens).astype(np.int64),
        log_probs=np.stack(log_probs).astype(np.float32),
        info=original.info
        | {
            "branch_of": original.id,
            "branch_chunk": str(plan.chunk),
            "branch_source": plan.source,
            "branch_afterwards": plan.afterwards,
            "branch_by": author,
            "success_threshold": f"{env.config.success_threshold:.6f}",
        }
        | ({"temperature": f"{plan.temperature:g}", "policy_seed": str(plan.seed)} if plan.needs_policy else {}),
    )
    rollout = judged(rollout, p, env.config.success_threshold, discount)
    return Fork(rollout, original, plan, difference)


def _decide(
    policy: Policy | None,
    original: Rollout,
    plan: Plan,
    k: int,
    frame: torch.Tensor,
    previous: torch.Tensor,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actions, tokens and log-probabilities (C, A) of chunk k."""
    nobody = np.full((CHUNK, original.actions.shape[1]), -1, np.int64)
    unknown = np.full(nobody.shape, np.nan, np.float32)
    first = k == plan.chunk
    if first and plan.source == "edit":
        assert plan.actions is not None
        return plan.actions, nobody, unknown
    if (first and plan.source == "policy") or plan.afterwards == "policy":
        assert policy is not None
        drawn = policy.act(
            frame, [original.task.instruction], previous, temperature=plan.temperature, generator=generator
        )
        return drawn.actions[0].numpy(), drawn.tokens[0].numpy(), drawn.log_probs[0].numpy()
    if plan.afterwards == "original":
        return original.actions[k * CHUNK : (k + 1) * CHUNK], original.action_tokens[k], unknown
    return hold(float(previous[0, 6])), nobody, unknown


def fork_id(original: Rollout, plan: Plan, actions: np.ndarray) -> str:
    """Of the original, the chunk and the actions; of a fork of a fork of a fork not longer and longer."""
    digest = hashlib.sha256(actions.tobytes() + original.id.encode()).hexdigest()[:8]
    return f"{original.id[:_LONGEST_ID]}-b{plan.chunk}-{digest}"
