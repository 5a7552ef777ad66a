"""Imagined groups: what is recorded must be what happened, whatever the models are."""

import copy

import numpy as np
import pytest
import torch

from wovr_core.data.segments import keyframe
from wovr_core.errors import WovrError
from wovr_core.imagination import imagine_groups
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.policy.tiny_vla import build as build_policy
from wovr_core.rl.advantages import is_degenerate
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.rl.grpo_loss import GRPOConfig
from wovr_core.stages.train_policy_rl import PolicyRLConfig, batch_loss
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import WorldModelConfig
from wovr_core.world_model.model import build as build_world_model

SIZE = 16
CHUNKS = 3


@pytest.fixture(scope="module")
def policy():
    return build_policy(TinyVLAConfig(image_size=SIZE, width=16, blocks=1, keypoints=8, hidden=32), seed=1).eval()


@pytest.fixture(scope="module")
def world_model():
    codec = AutoencoderConfig(image_size=SIZE, width=16, latent_channels=4)
    return build_world_model(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()


def imagine(policy, world_model, keyframes, reward, seed=5, **kwargs):
    env = WorldModelEnv(world_model, reward, ImaginationConfig(solver_steps=1, success_threshold=0.5))
    defaults = {"group_size": 3, "chunks": CHUNKS, "temperature": 1.0, "discount": 0.9, "seed": seed}
    return imagine_groups(policy, env, keyframes, **(defaults | kwargs))


def never(frames, instructions):
    return torch.zeros(len(frames))


class SecondChunk:
    """Success at the third frame of the second chunk for the first sibling only."""

    def __init__(self, rows: int) -> None:
        self.rows, self.calls = rows, 0

    def __call__(self, frames, instructions):
        self.calls += 1
        p = torch.zeros(self.rows, len(frames) // self.rows)
        if self.calls == 3:  # the start is judged first, then chunk by chunk
            p[0, 2] = 0.8
        return p.flatten()


def test_siblings_share_the_start_and_differ_afterwards(policy, world_model, make_episode):
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    (group,) = imagine(policy, world_model, [start], never)
    for rollout in group.rollouts:
        np.testing.assert_array_equal(rollout.frames[0], start.context_frames[-1])
        np.testing.assert_array_equal(rollout.sim_state, start.sim_state)
        assert rollout.frames.shape == (CHUNKS * 8 + 1, SIZE, SIZE, 3)
    assert len({r.actions.tobytes() for r in group.rollouts}) == 3
    assert is_degenerate(torch.from_numpy(group.rewards))
    assert not group.rewards.any()
    assert all(r.loss_mask.all() and r.reward == 0 for r in group.rollouts)


def test_reward_and_mask_follow_the_first_success(policy, world_model, make_episode):
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    (group,) = imagine(policy, world_model, [start], SecondChunk(3))
    winner, *others = group.rollouts
    assert winner.reward == pytest.approx(0.9**10)  # the 11th action: 8 + 3, discounted from the first on
    assert winner.loss_mask.reshape(-1).tolist() == [True] * 11 + [False] * 13
    assert winner.imagined_success
    assert not any(r.imagined_success for r in others)
    assert not is_degenerate(torch.from_numpy(group.rewards))
    assert group.rewards.tolist() == [pytest.approx(winner.reward), 0, 0]


def test_outcomes_are_predicted_at_the_start_and_after_each_chunk(policy, world_model, make_episode):
    def brightness(frames, instructions):
        return frames.float().mean(dim=(1, 2, 3)) / 255

    env = WorldModelEnv(world_model, never, ImaginationConfig(solver_steps=1), brightness)
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    (group,) = imagine_groups(
        policy, env, [start], group_size=2, chunks=CHUNKS, temperature=1.0, discount=0.9, seed=5
    )  # fmt: skip
    for rollout in group.rollouts:
        np.testing.assert_allclose(rollout.p_outcome, rollout.frames[::8].mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
        assert rollout.reward == 0
    (without,) = imagine(policy, world_model, [start], never)
    assert without.rollouts[0].p_outcome is None


def test_the_same_seed_imagines_the_same(policy, world_model, make_episode):
    starts = [keyframe(make_episode(size=SIZE), step, "contact") for step in (3, 20)]
    first, again, other = (imagine(policy, world_model, starts, never, seed=s) for s in (5, 5, 6))
    assert [r.frames.tobytes() for g in first for r in g.rollouts] == [
        r.frames.tobytes() for g in again for r in g.rollouts
    ]
    assert first[0].rollouts[0].actions.tobytes() != other[0].rollouts[0].actions.tobytes()


class Still:
    """Always the same chunk."""

    def __init__(self, policy) -> None:
        self.policy = policy

    def act(self, frames, instructions, previous, *, temperature, generator):
        return self.policy.act(torch.zeros_like(frames), instructions, torch.zeros_like(previous))


def test_siblings_may_share_the_world_models_noise(policy, world_model, make_episode):
    noisy = copy.deepcopy(world_model)
    with torch.no_grad():  # as built it begins at no change, whatever the noise
        for parameter in noisy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    starts = [keyframe(make_episode(size=SIZE), step, "contact") for step in (3, 20)]
    for shared in (False, True):
        groups = imagine(Still(policy), noisy, starts, never, shared_noise=shared)
        for group in groups:  # what the policy does is the same: only the noise sets siblings apart
            assert len({r.frames.tobytes() for r in group.rollouts}) == (1 if shared else 3)
            assert len({r.sampler_seed for r in group.rollouts}) == (1 if shared else 3)
        assert groups[0].rollouts[0].sampler_seed != groups[1].rollouts[0].sampler_seed


def test_correlated_draws_move_the_arm_farther(policy, world_model, make_episode):
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    moved = []
    for correlation in (0.0, 0.9):
        (group,) = imagine(policy, world_model, [start], never, group_size=32, chunks=1, correlation=correlation)
        moved.append(np.stack([r.actions.sum(0) for r in group.rollouts]).std(0).mean())
    assert moved[1] > 2 * moved[0]  # of eight steps: the square root of 8 at most


def test_a_policy_that_cannot_correlate_its_draws_is_named(policy, world_model, make_episode):
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    with pytest.raises(WovrError, match=r"Still .* `correlation`"):
        imagine(Still(policy), world_model, [start], never, correlation=0.5)


def test_the_ratio_is_one_before_the_first_step(policy, world_model, make_episode):
    """Behaviour log-probabilities recorded while imagining are those that the loss computes anew."""
    start = keyframe(make_episode(size=SIZE), 12, "contact")
    (group,) = imagine(policy, world_model, [start], SecondChunk(3), temperature=1.3)
    config = PolicyRLConfig(temperature=1.3, grpo=GRPOConfig())
    loss, metrics = batch_loss(policy, of_rollouts(group), config)
    assert metrics["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert metrics["clip_fraction"] == 0
    # With all ratios 1, each rollout's mean is its advantage: their mean over the group is zero.
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    assert gradient.norm() > 0
    policy.zero_grad()
