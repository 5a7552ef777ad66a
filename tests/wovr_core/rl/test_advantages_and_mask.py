"""Returns, advantages and masks against plain loops over the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.rl.advantages import (
    discounted_return,
    first_success,
    group_advantages,
    has_contrast,
    is_degenerate,
)
from wovr_core.rl.loss_mask import mask_from_frame, step_weights, valid_steps


@pytest.fixture
def success() -> torch.Tensor:
    """(6, 16): never, at once, late, twice (the first counts), at the very end, and random."""
    table = np.zeros((6, 16), dtype=bool)
    table[1, 0:] = True
    table[2, 11] = True
    table[3, [4, 9]] = True
    table[4, 15] = True
    table[5] = np.random.default_rng(3).random(16) < 0.2
    return torch.from_numpy(table)


def test_returns_and_masks_follow_the_definition(success: torch.Tensor) -> None:
    discount = 0.9
    returns, valid = discounted_return(success, discount), valid_steps(success)
    for row, got_return, got_valid in zip(success.tolist(), returns, valid, strict=True):
        expected, mask, over = 0.0, [], False
        for step, reached in enumerate(row):
            mask.append(not over)
            if reached and not over:
                expected, over = discount**step, True
        assert float(got_return) == pytest.approx(expected, rel=1e-6)
        assert got_valid.tolist() == mask
    assert first_success(success).tolist()[:5] == [0, 1, 12, 5, 16]
    assert discounted_return(success, 1.0).tolist()[:5] == [0, 1, 1, 1, 1]


def test_advantages_are_differences_to_the_mean_and_not_scaled() -> None:
    returns = torch.tensor([1.0, 0.0, 0.0, 0.5])
    np.testing.assert_allclose(group_advantages(returns).numpy(), [0.625, -0.375, -0.375, 0.125], atol=1e-7)
    # twice the spread is twice the advantage: no division by the deviation
    np.testing.assert_allclose(group_advantages(2 * returns).numpy(), 2 * group_advantages(returns).numpy())
    np.testing.assert_allclose(group_advantages(returns + 3).numpy(), group_advantages(returns).numpy(), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 0.7 / 3])
def test_an_all_equal_group_has_exactly_no_advantage(value: float) -> None:
    returns = torch.full((7,), value)
    assert is_degenerate(returns)
    assert (group_advantages(returns) == 0).all()


def test_groups_that_nearly_all_end_alike_have_no_contrast() -> None:
    one_of_eight = torch.arange(8) == 3
    assert has_contrast(one_of_eight, 0.1, 0.9)
    assert has_contrast(~one_of_eight, 0.1, 0.9)
    assert not has_contrast(one_of_eight, 0.2, 0.9)
    assert not has_contrast(torch.ones(8, dtype=torch.bool), 0.1, 0.9)
    assert not has_contrast(torch.zeros(8, dtype=torch.bool), 0.1, 0.9)


def test_each_rollout_weighs_the_same_however_long(success: torch.Tensor) -> None:
    mask = valid_steps(success).view(6, 2, 8)
    weights = step_weights(mask)
    np.testing.assert_allclose(weights.sum((1, 2)).numpy(), 1 / 6, rtol=1e-6)
    assert (weights[~mask] == 0).all()
    assert float(weights[2, 0, 0]) == pytest.approx(1 / (6 * 12))


def test_an_annotation_takes_out_the_step_that_led_to_the_flagged_frame_and_all_after(success: torch.Tensor) -> None:
    mask = valid_steps(success).view(6, 2, 8)
    flagged = mask_from_frame(mask, rollout=2, frame=10)
    assert flagged[2].view(-1).tolist() == [True] * 9 + [False] * 7
    assert torch.equal(flagged[[0, 1, 3, 4, 5]], mask[[0, 1, 3, 4, 5]])
    assert mask[2].sum() == 12  # the original is kept
    gone = mask_from_frame(mask, rollout=2, frame=0)
    assert not gone[2].any()
    weights = step_weights(gone)
    assert (weights[2] == 0).all()
    assert float(weights[0].sum()) == pytest.approx(1 / 6)  # siblings gain nothing


def test_bad_input_is_named(success: torch.Tensor) -> None:
    with pytest.raises(WovrError, match=r"\(G, T\)"):
        first_success(success.float())
    with pytest.raises(WovrError, match="discount"):
        discounted_return(success, 0.0)
    with pytest.raises(WovrError, match="NaN"):
        group_advantages(torch.tensor([1.0, float("nan")]))
    with pytest.raises(WovrError, match="frame 17"):
        mask_from_frame(valid_steps(success).view(6, 2, 8), 0, 17)
    with pytest.raises(WovrError, match="bool"):
        step_weights(torch.ones(2, 2, 8))
