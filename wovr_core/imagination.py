"""Imagined rollouts: a policy acting inside the world model, G siblings from each keyframe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.policy.base import Policy, drawing
from wovr_core.rl.advantages import discounted_return
from wovr_core.rl.loss_mask import valid_steps
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.types import CHUNK, FloatArray, Frames, Keyframe, Rollout, RolloutGroup
from wovr_core.world_model.env import WorldModelEnv


@torch.no_grad()
def imagine_groups(
    policy: Policy,
    env: WorldModelEnv,
    keyframes: Sequence[Keyframe],
    *,
    group_size: int,
    chunks: int,
    temperature: float,
    discount: float,
    seed: int,
    versions: Mapping[str, str] | None = None,
    correlation: float = 0.0,
    shared_noise: bool = False,
) -> list[RolloutGroup]:
    """One RolloutGroup per keyframe, all imagined in one batch of len(keyframes) * group_size rows.

    Siblings share the start and differ in the policy's samples; the world model's noise is seeded per row.
    A row runs on after its first success, so that all keep one shape; its later steps are masked.

    Args:
        correlation: of the policy's draws along a chunk's steps (`policy.sampling.sample`).
        shared_noise: siblings share the world model's noise, too (common random numbers, as in PEGASUS, arXiv
            1301.3878): what sets them apart is then what the policy did, and not the sampler's luck.

    Raises:
        WovrError: a correlation, and a policy that cannot draw so.
    """
    rows = [keyframe for keyframe in keyframes for _ in range(group_size)]
    sampler_seeds = [
        derive_seed(seed, "world_model", k, 0 if shared_noise else g)
        for k in range(len(keyframes))
        for g in range(group_size)
    ]
    how = drawing(policy, correlation)
    instructions = [keyframe.task.instruction for keyframe in rows]
    generator = torch_generator(seed, "policy")

    start = env.reset(rows, sampler_seeds)
    frame, previous = start.frames, start.previous_actions
    frames, p_success, p_outcome = [frame[:, None]], [start.p_success[:, None]], [start.p_outcome]
    chunks_taken = []
    for _ in range(chunks):
        chunk = policy.act(frame, instructions, previous, temperature=temperature, generator=generator, **how)
        imagined = env.step(chunk.actions)
        chunks_taken.append(chunk)
        frames.append(imagined.frames)
        p_success.append(imagined.p_success)
        p_outcome.append(imagined.p_outcome)
        frame, previous = imagined.frames[:, -1], chunk.actions[:, -1]

    all_frames = torch.cat(frames, 1).numpy()  # (B, K*C+1, H, W, 3)
    all_p = torch.cat(p_success, 1).float()  # (B, K*C+1)
    known = [p for p in p_outcome if p is not None]
    outcomes = torch.stack(known, 1).numpy() if known else None  # (B, K+1)
    actions = torch.cat([c.actions for c in chunks_taken], 1).numpy()
    tokens = torch.stack([c.tokens for c in chunks_taken], 1).numpy()
    log_probs = torch.stack([c.log_probs for c in chunks_taken], 1).numpy()
    success = all_p[:, 1:] >= env.config.success_threshold  # (B, K*C): the start itself earns nothing
    rewards = discounted_return(success, discount).numpy()
    masks = valid_steps(success).numpy().reshape(len(rows), chunks, -1)

    groups = []
    for k, keyframe in enumerate(keyframes):
        group_id = f"{keyframe.start.episode_id}-f{keyframe.start.step:03d}-s{seed % 10**8:08d}-{k:02d}"
        rollouts = tuple(
            Rollout(
                id=f"{group_id}-{g}",
                task=keyframe.task,
                start=keyframe.start,
                group_id=group_id,
                sampler_seed=sampler_seeds[row],
                context_frames=keyframe.context_frames,
                context_actions=keyframe.context_actions,
                sim_state=keyframe.sim_state,
                frames=all_frames[row],
                actions=actions[row],
                action_tokens=tokens[row],
                log_probs=log_probs[row],
                p_success=all_p[row].numpy(),
                loss_mask=masks[row],
                reward=float(rewards[row]),
                p_outcome=None if outcomes is None else outcomes[row],
                versions=dict(versions or {}),
                info={"keyframe": keyframe.reason, "success_threshold": f"{env.config.success_threshold:.6f}"},
            )
            for g in range(group_size)
            for row in [k * group_size + g]
        )
        groups.append(RolloutGroup(group_id, rollouts))
    return groups


@torch.no_grad()
def imagine_actions(
    env: WorldModelEnv, keyframe: Keyframe, actions: FloatArray, sampler_seed: int
) -> tuple[Frames, FloatArray]:
    """What is imagined under given actions: with a rollout's own actions and seed, that rollout again.

    Args:
        actions: (K*C, A), raw environment actions.
        sampler_seed: of the world model's noise.

    Returns:
        Frames (K*C+1, H, W, 3), the first of them the keyframe's newest, and p_success (K*C+1,).

    Raises:
        WovrError: actions that are no whole number of chunks, more than the environment imagines, or not finite.
    """
    frames, p_success = imagine_actions_many(env, [keyframe], actions[None], [sampler_seed])
    return frames[0], p_success[0]


@torch.no_grad()
def imagine_actions_many(
    env: WorldModelEnv, keyframes: Sequence[Keyframe], actions: FloatArray, sampler_seeds: Sequence[int]
) -> tuple[Frames, FloatArray]:
    """`imagine_actions` for B rows in one batch; a row does not depend on its batch mates.

    Args:
        actions: (B, K*C, A).

    Returns:
        Frames (B, K*C+1, H, W, 3) and p_success (B, K*C+1).
    """
    if actions.ndim != 3 or not actions.shape[1] or actions.shape[1] % CHUNK:
        raise WovrError(f"actions must be (K*{CHUNK}, A) with K >= 1, got {actions.shape[1:]}")
    start = env.reset(keyframes, sampler_seeds)
    frames, p_success = [start.frames[:, None]], [start.p_success[:, None]]
    for chunk in torch.from_numpy(np.ascontiguousarray(actions, dtype=np.float32)).split(CHUNK, dim=1):
        imagined = env.step(chunk)
        frames.append(imagined.frames)
        p_success.append(imagined.p_success)
    return torch.cat(frames, 1).numpy(), torch.cat(p_success, 1).float().numpy()
