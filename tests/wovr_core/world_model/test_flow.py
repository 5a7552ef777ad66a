"""The flow's loss and solver against plain numpy, on velocities that can be written down."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.world_model import flow


def toy(x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Mixes context and future, and depends on time."""
    return 0.5 * x - 2 * sigmas[:, :, None, None, None] + x[:, :1].mean()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_matches_numpy() -> None:
    g = seeded()
    context, future = torch.randn(3, 2, 4, 2, 2, generator=g), torch.randn(3, 2, 4, 2, 2, generator=g)
    noise, sigmas = torch.randn(3, 2, 4, 2, 2, generator=g), torch.tensor([0.1, 0.5, 0.9])
    weight = torch.rand(3, 2, 1, 2, 2, generator=g)
    loss = flow.flow_loss(toy, context, future, sigmas, noise, weight).item()

    c, f, n, s, w = (t.double().numpy() for t in (context, future, noise, sigmas, weight))
    total, weights = 0.0, 0.0
    mean = c[:, :1].mean()
    for b in range(3):
        x = (1 - s[b]) * f[b] + s[b] * n[b]
        error = (0.5 * x - 2 * s[b] + mean - (n[b] - f[b])) ** 2
        full = np.broadcast_to(w[b], error.shape)
        total, weights = total + (error * full).sum(), weights + full.sum()
    assert loss == pytest.approx(total / weights, rel=1e-5)


def test_context_is_no_part_of_the_loss() -> None:
    g = seeded()
    context, future, noise = (torch.randn(2, 2, 4, 2, 2, generator=g) for _ in range(3))

    def half_wrong(x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        assert (sigmas[:, :2] == 0).all()
        return torch.cat([torch.full_like(context, 1e6), noise - future], dim=1)

    assert flow.flow_loss(half_wrong, context, future, torch.tensor([0.3, 0.7]), noise).item() == 0


@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (3, 1.0), (5, 5.0)])
def test_solver_matches_numpy_and_keeps_the_context(steps: int, shift: float) -> None:
    g = seeded(1)
    context, noise = torch.randn(2, 2, 4, 2, 2, generator=g), torch.randn(2, 2, 4, 2, 2, generator=g)
    out = flow.imagine(toy, context, noise, steps, shift)
    assert torch.equal(out[:, :2], context)

    even = np.linspace(1, 0, steps + 1)
    sigmas = shift * even / (1 + (shift - 1) * even)
    x, mean = noise.double().numpy(), context[:, :1].double().numpy().mean()
    for now, following in pairwise(sigmas):
        x = x + (following - now) * (0.5 * x - 2 * now + mean)
    np.testing.assert_allclose(out[:, 2:].numpy(), x, rtol=1e-4, atol=1e-5)


def test_the_exact_velocity_leads_to_the_data_in_one_step() -> None:
    data, noise = torch.full((1, 2, 1, 1, 1), 3.0), torch.full((1, 2, 1, 1, 1), -1.0)
    out = flow.imagine(
        lambda x, s: torch.cat([torch.zeros(1, 2, 1, 1, 1), noise - data], 1), torch.zeros(1, 2, 1, 1, 1), noise, 1
    )
    assert torch.allclose(out[:, 2:], data)


def test_published_sigmas_of_five_steps() -> None:
    even = np.array([1, 0.8, 0.6, 0.4, 0.2, 0])
    np.testing.assert_allclose(flow.solver_sigmas(5, 5.0).numpy(), 5 * even / (1 + 4 * even), rtol=1e-6)
    with pytest.raises(WovrError, match="at least 1"):
        flow.solver_sigmas(0)


def test_context_noise_spares_the_reference() -> None:
    context = torch.randn(4, 2, 4, 2, 2, generator=seeded())
    noisy = flow.noisy_context(context, 0.5, seeded(2))
    assert torch.equal(noisy[:, :1], context[:, :1])
    assert not torch.allclose(noisy[:, 1:], context[:, 1:])
    assert torch.equal(flow.noisy_context(context, 0.0, seeded(2)), context)


def test_row_noise_does_not_depend_on_batch_mates() -> None:
    both = flow.row_noise((2, 3), [seeded(5), seeded(6)])
    alone = flow.row_noise((1, 3), [seeded(6)])
    assert torch.equal(both[1:], alone)
    with pytest.raises(WovrError, match="one generator"):
        flow.row_noise((2, 3), [seeded(5)])


def test_training_times_are_logit_normal() -> None:
    s = flow.logit_normal(20000, seeded(), mean=0.5, deviation=0.8)
    logits = torch.logit(s)
    assert 0 < s.min() < s.max() < 1
    assert logits.mean().item() == pytest.approx(0.5, abs=0.03)
    assert logits.std().item() == pytest.approx(0.8, abs=0.03)
