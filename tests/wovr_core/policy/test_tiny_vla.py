"""TinyVLA: exact log-probabilities, seeded weights and samples, plain errors."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.policy.tiny_vla import TinyVLA, TinyVLAConfig, build

TINY = TinyVLAConfig(image_size=32, bins=9, width=16, blocks=1, keypoints=8, hidden=32, text=8)
TEXTS = ["pick up the alphabet soup", "pick up the ketchup"]


@pytest.fixture
def policy() -> TinyVLA:
    policy = build(TINY, seed=3)
    with torch.no_grad():  # spread the odds, as training does: fresh weights are nearly even over the bins
        policy.head.weight.mul_(30)
    return policy


def observations(count: int, seed: int = 0) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    previous = torch.rand((count, 7), generator=generator) * 2 - 1
    return frames, [TEXTS[i % 2] for i in range(count)], previous


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.6])
def test_act_and_log_prob_agree(policy: TinyVLA, temperature: float) -> None:
    seen = observations(6)
    chunk = policy.act(*seen, temperature=temperature, generator=torch.Generator().manual_seed(0))
    again = policy.log_prob(*seen, chunk.tokens, temperature=temperature or 1.0)
    assert chunk.actions.shape == chunk.tokens.shape == chunk.log_probs.shape == again.shape == (6, 8, 7)
    np.testing.assert_allclose(again.detach().numpy(), chunk.log_probs.numpy(), atol=1e-6)
    np.testing.assert_array_equal(chunk.actions.numpy(), policy.action_bins.decode(chunk.tokens).numpy())
    one = policy.log_prob(seen[0][:1], seen[1][:1], seen[2][:1], chunk.tokens[:1], temperature=temperature or 1.0)
    np.testing.assert_allclose(one.detach().numpy(), chunk.log_probs[:1].numpy(), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.6])
def test_probabilities_sum_to_one_and_are_those_of_tempered_logits(policy: TinyVLA, temperature: float) -> None:
    seen = observations(2)
    total = torch.zeros(2, 8, 7, dtype=torch.float64)
    for token in range(TINY.bins):
        tokens = torch.full((2, 8, 7), token)
        total += policy.log_prob(*seen, tokens, temperature=temperature).double().exp().detach()
    np.testing.assert_allclose(total.numpy(), 1, atol=1e-6)
    logits = policy(seen[0], policy._embed(seen[1], seen[0]), seen[2]).detach().double().numpy()
    odds = np.exp(logits / temperature)
    wanted = np.log(odds[..., 4] / odds.sum(-1))
    got = policy.log_prob(*seen, torch.full((2, 8, 7), 4), temperature=temperature)
    np.testing.assert_allclose(got.detach().numpy(), wanted, atol=1e-5)


def test_samples_follow_their_probabilities(policy: TinyVLA) -> None:
    frames, texts, previous = observations(1)
    draws = 3000
    many = (frames.expand(draws, -1, -1, -1), texts * draws, previous.expand(draws, -1))
    tokens = policy.act(*many, temperature=1.3, generator=torch.Generator().manual_seed(1)).tokens
    for token in range(TINY.bins):
        asked = torch.full((1, 8, 7), token)
        p = policy.log_prob(frames, texts, previous, asked, temperature=1.3).exp().detach()[0]
        frequency = (tokens == token).float().mean(0)
        assert ((frequency - p).abs() < 5 * (p * (1 - p) / draws).sqrt() + 1e-3).all()


def test_weights_and_samples_come_from_their_seeds_alone() -> None:
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    first, second, other = build(TINY, seed=1), build(TINY, seed=1), build(TINY, seed=2)
    seen = observations(3)
    a = first.act(*seen, temperature=1.0, generator=torch.Generator().manual_seed(5))
    b = second.act(*seen, temperature=1.0, generator=torch.Generator().manual_seed(5))
    c = second.act(*seen, temperature=1.0, generator=torch.Generator().manual_seed(6))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(a.tokens, b.tokens)
    assert not torch.equal(a.tokens, c.tokens)
    assert all(torch.isfinite(p).all() for p in first.parameters())


def test_a_fresh_policy_is_nearly_undecided() -> None:
    fresh = build(TINY)
    seen = observations(4)
    entropy = -torch.stack([fresh.log_prob(*seen, torch.full((4, 8, 7), t)) for t in range(9)]).mean()
    assert entropy.item() == pytest.approx(np.log(9), rel=0.1)


def test_every_input_matters_and_every_weight_learns(policy: TinyVLA) -> None:
    frames, texts, previous = observations(4)
    tokens = torch.zeros(4, 8, 7, dtype=torch.int64)
    base = policy.log_prob(frames, texts, previous, tokens)
    with torch.no_grad():  # at first the instruction reaches the head only, through `trunk`
        swapped = policy.log_prob(frames, texts[::-1], previous, tokens)
        still = policy.log_prob(frames, texts, torch.zeros_like(previous), tokens)
        black = policy.log_prob(torch.zeros_like(frames), texts, previous, tokens)
    for changed in (swapped, still, black):
        assert float((changed - base.detach()).abs().max()) > 1e-3
    base.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_config_and_weights_round_trip(policy: TinyVLA) -> None:
    policy.action_bins.fit(np.random.default_rng(0).uniform(-0.5, 0.7, (100, 7)).astype(np.float32))
    again = build(TinyVLAConfig(**asdict(policy.config)), seed=99)
    again.load_state_dict(policy.state_dict(), strict=True)
    seen = observations(2)
    assert torch.equal(policy.act(*seen).actions, again.act(*seen).actions)
    assert "action_bins.centres" in policy.state_dict()


def test_what_does_not_fit_is_named(policy: TinyVLA) -> None:
    frames, texts, previous = observations(2)
    with pytest.raises(WovrError, match="generator"):
        policy.act(frames, texts, previous, temperature=1.0)
    with pytest.raises(WovrError, match="negative"):
        policy.act(frames, texts, previous, temperature=-1.0)
    with pytest.raises(WovrError, match=r"32, 32"):
        policy.act(frames[:, :16], texts, previous)
    with pytest.raises(WovrError, match="2 frames but 1"):
        policy.act(frames, texts[:1], previous)
    with pytest.raises(WovrError, match="positive temperature"):
        policy.log_prob(frames, texts, previous, torch.zeros(2, 8, 7, dtype=torch.int64), temperature=0.0)
    for bad in ({"bins": 64}, {"width": 20}, {"image_size": 30}):
        with pytest.raises(WovrError):
            TinyVLA(TinyVLAConfig(**bad))
