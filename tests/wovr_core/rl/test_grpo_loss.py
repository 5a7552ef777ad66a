"""The masked GRPO objective and its gradient against an independent computation in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.rl.grpo_loss import GRPOConfig, grpo_loss, reference_divergence

G, K, C, A = 5, 3, 4, 7
LOW, HIGH = 0.2, 0.28


class Case:
    """A group whose ratios lie well inside, and well outside, the trust region on both sides."""

    def __init__(self, seed: int = 0, spread: float = 0.4) -> None:
        rng = np.random.default_rng(seed)
        self.old = rng.normal(-2.0, 0.5, (G, K, C, A))
        self.new = self.old + rng.normal(0.0, spread, (G, K, C, A))
        self.returns = np.array([0.9, 0.0, 0.4, 0.0, 0.7])
        last = np.array([7, 12, 1, 12, 5])  # T_i_valid: within a chunk, the whole, a single step
        self.mask = (np.arange(K * C) < last[:, None]).reshape(G, K, C)

    def torch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        new = torch.from_numpy(self.new).requires_grad_(True)
        return new, torch.from_numpy(self.old), torch.from_numpy(self.returns), torch.from_numpy(self.mask)


def reference(case: Case) -> tuple[float, np.ndarray]:
    """Objective -J and d(-J)/d(log_probs), token by token, straight from the equation."""
    total, gradient = 0.0, np.zeros_like(case.new)
    mean = sum(case.returns) / G
    for i in range(G):
        steps = [(k, c) for k in range(K) for c in range(C) if case.mask[i, k, c]]
        advantage = case.returns[i] - mean
        for k, c in steps:
            for a in range(A):
                weight = 1.0 / (G * len(steps) * A)
                ratio = np.exp(case.new[i, k, c, a] - case.old[i, k, c, a])
                bounded = min(max(ratio, 1 - LOW), 1 + HIGH)
                if ratio * advantage <= bounded * advantage:  # the unclipped branch: d ratio / d log_prob = ratio
                    total += weight * ratio * advantage
                    gradient[i, k, c, a] = -weight * ratio * advantage
                else:
                    total += weight * bounded * advantage
    return -total, gradient


@pytest.mark.parametrize("seed", range(5))
def test_objective_and_gradient_agree_with_numpy(seed: int) -> None:
    case = Case(seed)
    new, old, returns, mask = case.torch()
    loss, metrics = grpo_loss(new, old, returns, mask, GRPOConfig(LOW, HIGH))
    (gradient,) = torch.autograd.grad(loss, new)
    wanted_loss, wanted_gradient = reference(case)
    assert 0.1 < metrics["clip_fraction"] < 0.9  # both branches are exercised
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-6)
    np.testing.assert_allclose(gradient.numpy(), wanted_gradient, rtol=1e-5, atol=1e-9)


def test_gradient_agrees_with_finite_differences() -> None:
    case = Case(7)
    new, old, returns, mask = case.torch()
    loss, _ = grpo_loss(new, old, returns, mask)
    (gradient,) = torch.autograd.grad(loss, new)
    rng = np.random.default_rng(1)
    for _ in range(60):
        at = tuple(int(rng.integers(n)) for n in (G, K, C, A))
        values = []
        for step in (1e-6, -1e-6):
            moved = new.detach().clone()
            moved[at] += step
            values.append(float(grpo_loss(moved, old, returns, mask)[0]))
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(gradient[at]), abs=1e-7)


def test_on_policy_the_gradient_is_reinforce_with_a_baseline() -> None:
    case = Case(2, spread=0.0)
    new, old, returns, mask = case.torch()
    loss, metrics = grpo_loss(new, old, returns, mask)
    (gradient,) = torch.autograd.grad(loss, new)
    advantage = case.returns - case.returns.mean()
    for i in range(G):
        per_token = -advantage[i] / (G * case.mask[i].sum() * A)
        np.testing.assert_allclose(gradient[i][mask[i]].numpy(), per_token, rtol=1e-5)
    assert metrics["ratio_max"] == 1
    assert metrics["clip_fraction"] == 0
    assert metrics["approx_kl"] == 0


def test_masked_steps_have_exactly_no_gradient_whatever_they_hold() -> None:
    new, old, returns, mask = Case().torch()
    loss, metrics = grpo_loss(new, old, returns, mask)
    (gradient,) = torch.autograd.grad(loss, new)
    assert (gradient[~mask] == 0).all()
    wild = new.detach().clone()
    wild[~mask] = torch.tensor([float("nan"), float("-inf"), 1e30, 0.0, 5.0, -5.0, 1.0], dtype=wild.dtype)
    wild.requires_grad_(True)
    again, same = grpo_loss(wild, old, returns, mask)
    (wild_gradient,) = torch.autograd.grad(again, wild)
    assert again.item() == loss.item()
    assert torch.equal(wild_gradient, gradient)
    assert same == metrics


def test_siblings_have_no_order() -> None:
    new, old, returns, mask = Case().torch()
    order = torch.tensor([3, 0, 4, 2, 1])
    loss, _ = grpo_loss(new, old, returns, mask)
    permuted, _ = grpo_loss(new[order], old[order], returns[order], mask[order])
    assert permuted.item() == pytest.approx(loss.item(), rel=1e-12)


def test_a_constant_added_to_all_rewards_changes_nothing() -> None:
    new, old, returns, mask = Case().torch()
    (before,) = torch.autograd.grad(grpo_loss(new, old, returns, mask)[0], new)
    (after,) = torch.autograd.grad(grpo_loss(new, old, returns + 10, mask)[0], new)
    np.testing.assert_allclose(after.numpy(), before.numpy(), atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0, 1 / 3])
def test_a_degenerate_group_is_dropped(value: float) -> None:
    new, old, returns, mask = Case().torch()
    loss, metrics = grpo_loss(new, old, torch.full_like(returns, value), mask)
    loss.backward()  # still part of the graph, so a loop need not know
    assert loss.item() == 0
    assert new.grad is not None
    assert (new.grad == 0).all()
    assert metrics["dropped"] == 1


def test_annotations_mask_further_and_the_rest_is_normalised_by_what_is_left() -> None:
    case = Case(4)
    new, old, returns, mask = case.torch()
    annotation = torch.ones_like(mask)
    annotation[0, 1:] = False  # leaves 4 of 7 steps
    annotation[3] = False  # leaves nothing
    loss, _ = grpo_loss(new, old, returns, mask & annotation)
    (gradient,) = torch.autograd.grad(loss, new)
    case.mask = (mask & annotation).numpy()
    wanted_loss, wanted_gradient = reference(case)
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-6)
    np.testing.assert_allclose(gradient.numpy(), wanted_gradient, rtol=1e-5, atol=1e-9)
    assert (gradient[3] == 0).all()


def test_extreme_ratios_stay_finite() -> None:
    _, old, returns, mask = Case().torch()
    far = (old + 500.0).detach().requires_grad_(True)
    loss, metrics = grpo_loss(far, old, returns, mask)
    loss.backward()
    assert torch.isfinite(loss)
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()
    assert np.isfinite(list(metrics.values())).all()


def test_the_clip_is_asymmetric() -> None:
    old = torch.zeros(2, 1, 1, 1)
    mask = torch.ones(2, 1, 1, dtype=torch.bool)
    returns = torch.tensor([1.0, 0.0])

    def pulls(ratio: float) -> list[bool]:
        new = torch.full((2, 1, 1, 1), float(np.log(ratio))).requires_grad_(True)
        (gradient,) = torch.autograd.grad(grpo_loss(new, old, returns, mask)[0], new)
        return [bool(g != 0) for g in gradient.flatten()]

    assert pulls(1.27) == [True, True]
    assert pulls(1.29) == [False, True]  # the better one has risen enough
    assert pulls(0.81) == [True, True]
    assert pulls(0.79) == [True, False]  # the worse one has sunk enough


def test_what_does_not_fit_is_named() -> None:
    new, old, returns, mask = Case().torch()
    with pytest.raises(WovrError, match=r"\(G, K, C, A\)"):
        grpo_loss(new, old[:, :2], returns, mask)
    with pytest.raises(WovrError, match="returns"):
        grpo_loss(new, old, returns[:2], mask)
    with pytest.raises(WovrError, match="loss_mask"):
        grpo_loss(new, old, returns, mask.float())
    with pytest.raises(WovrError, match="loss_mask"):
        grpo_loss(new, old, returns, mask[:, :1])
    broken = old.clone()
    broken[1, 0, 0, 0] = float("nan")
    with pytest.raises(WovrError, match="NaN"):
        grpo_loss(new, broken, returns, mask)


def test_the_divergence_from_a_reference_is_its_formula_and_rests_there():
    rng = np.random.default_rng(4)
    now, before = rng.normal(-1, 0.3, (2, 2, 3, 8, 7))
    mask = np.ones((2, 3, 8), dtype=bool)
    mask[0, 1, 3:] = False
    mask[0, 2] = False
    ratio = before - now
    each = (np.exp(ratio) - 1 - ratio).mean(axis=-1)
    expected = np.mean([each[i][mask[i]].mean() for i in range(2)])
    x = torch.tensor(now, requires_grad=True)
    found = reference_divergence(x, torch.tensor(before), torch.tensor(mask))
    assert float(found.detach()) == pytest.approx(expected)
    found.backward()
    assert x.grad is not None
    assert not x.grad[~torch.tensor(mask)].any()
    assert ((x.grad > 0) == (x.detach() > torch.tensor(before)))[torch.tensor(mask)].all(), "it pulls back"
    at_rest = reference_divergence(torch.tensor(before), torch.tensor(before), torch.tensor(mask))
    assert float(at_rest) == 0
