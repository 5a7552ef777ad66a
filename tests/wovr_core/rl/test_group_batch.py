"""Executed and imagined groups become the same tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.rl.group_batch import of_episodes, of_rollouts
from wovr_core.types import NULL_ACTION, RolloutGroup


def sampled(make_episode, name, length, success_at=None):
    rng = np.random.default_rng(length)
    episode = make_episode(name, length=length, success_at=success_at)
    chunks = length // 8
    object.__setattr__(episode, "action_tokens", rng.integers(0, 65, (chunks, 8, 7)))
    object.__setattr__(episode, "log_probs", rng.standard_normal((chunks, 8, 7)).astype(np.float32))
    return episode


def test_shorter_episodes_are_filled_up_and_masked(make_episode):
    short, long = sampled(make_episode, "a", 16, success_at=13), sampled(make_episode, "b", 32)
    batch = of_episodes([short, long], discount=0.9)
    assert batch.tokens.shape == (2, 4, 8, 7)
    assert batch.frames.shape[:2] == (2, 4)
    assert batch.loss_mask[0].flatten().tolist() == [True] * 13 + [False] * 19
    assert batch.loss_mask[1].all()
    assert batch.returns.tolist() == pytest.approx([0.9**12, 0.0])
    np.testing.assert_array_equal(batch.frames[1].numpy(), long.frames[[0, 8, 16, 24]])
    np.testing.assert_array_equal(batch.previous_actions[1, 0].numpy(), NULL_ACTION)
    np.testing.assert_array_equal(batch.previous_actions[1, 1:].numpy(), long.actions[[7, 15, 23]])
    np.testing.assert_array_equal(batch.tokens[0, :2].numpy(), short.action_tokens)
    assert torch.isfinite(batch.log_probs).all()


def test_without_the_mask_every_executed_step_counts(make_episode):
    batch = of_episodes([sampled(make_episode, "a", 16, success_at=5), sampled(make_episode, "b", 24)], 0.9, False)
    assert batch.loss_mask.flatten(1).sum(1).tolist() == [16, 24]


def test_rollouts_keep_their_mask_unless_it_is_switched_off(make_rollout):
    group = RolloutGroup("g", (make_rollout("r0", success_at=12), make_rollout("r1")))
    batch = of_rollouts(group)
    assert batch.loss_mask.flatten(1).sum(1).tolist() == [12, 32]
    assert batch.returns.tolist() == pytest.approx(group.rewards.tolist())
    np.testing.assert_array_equal(batch.previous_actions[0, 1:].numpy(), group.rollouts[0].actions[[7, 15, 23]])
    assert of_rollouts(group, post_success_mask=False).loss_mask.all()


def test_what_did_not_succeed_is_worth_what_its_end_promises(make_rollout):
    promises = np.array([0.1, 0.2, 0.3, 0.4, 0.6], np.float32)
    won, lost = make_rollout("won", success_at=12), make_rollout("lost")
    cut = replace(lost, p_outcome=promises[:3])  # its later chunks are not believed
    group = RolloutGroup("g", (replace(won, p_outcome=promises), replace(lost, p_outcome=promises), cut))
    returns = of_rollouts(group, outcome_worth=0.5, discount=0.99).returns
    assert returns.tolist() == pytest.approx([won.reward, 0.5 * 0.99**32 * 0.6, 0.5 * 0.99**16 * 0.3])
    assert of_rollouts(group).returns.tolist() == pytest.approx([won.reward, 0, 0])
    with pytest.raises(WovrError, match="won carries no predicted outcome"):
        of_rollouts(RolloutGroup("g", (won, lost)), outcome_worth=0.5)


def test_episodes_that_cannot_teach_are_named(make_episode):
    with pytest.raises(WovrError, match="at least one"):
        of_episodes([], 0.9)
    with pytest.raises(WovrError, match="e0 records no sampled tokens"):
        of_episodes([make_episode()], 0.9)
    odd = sampled(make_episode, "odd", 20)
    with pytest.raises(WovrError, match="no whole number of chunks"):
        of_episodes([odd], 0.9)
