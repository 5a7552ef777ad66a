"""Action bins: zero and the gripper's ends are exact, decoding what was encoded is off by half a bin at most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.policy.action_bins import ActionBins


@pytest.fixture
def demonstrations() -> np.ndarray:
    """(2000, 7): three lopsided motions, one still, one constant, one that only goes one way, a gripper."""
    rng = np.random.default_rng(0)
    data = np.zeros((2000, 7), dtype=np.float32)
    data[:, 0] = rng.normal(0.1, 0.3, 2000).clip(-1, 1)
    data[:, 1] = rng.uniform(-0.7, 1.0, 2000)
    data[:, 2] = rng.normal(0, 0.02, 2000)
    data[:, 4] = 0.25
    data[:, 5] = rng.uniform(0.0, 0.5, 2000)
    data[:, 6] = rng.choice([-1.0, 1.0], 2000)
    return data


def fitted(data: np.ndarray, bins: int = 65) -> ActionBins:
    table = ActionBins(bins, 7)
    table.fit(data)
    return table


@pytest.mark.parametrize("bins", [3, 33, 65, 255])
def test_zero_and_the_gripper_are_exact(demonstrations: np.ndarray, bins: int) -> None:
    table = fitted(demonstrations, bins)
    zero = torch.zeros(1, 7)
    decoded = table.decode(table.encode(zero))[0]
    assert [float(v) for v in decoded[[0, 1, 2, 3, 5, 6]]] == [0.0] * 6
    assert decoded[4] == 0.25  # constant: it always says what the demonstrations said
    for grip in (-1.0, 1.0):
        action = torch.full((1, 7), grip)
        assert float(table.decode(table.encode(action))[0, 6]) == grip


def test_nearest_bin_within_the_quantiles(demonstrations: np.ndarray) -> None:
    table = fitted(demonstrations)
    centres = table.centres.numpy()
    low, high = np.quantile(demonstrations, [0.01, 0.99], axis=0)
    for dim in (0, 1, 2):
        np.testing.assert_allclose(centres[dim, [0, -1]], [low[dim], high[dim]], rtol=1e-5)
        assert (np.diff(centres[dim]) > 0).all()
    actions = torch.from_numpy(demonstrations)
    tokens = table.encode(actions)
    for dim in (0, 1, 2, 5, 6):  # against a plain search over all centres
        distance = np.abs(demonstrations[:, dim, None] - centres[dim])
        chosen = distance[np.arange(len(distance)), tokens[:, dim]]
        np.testing.assert_allclose(chosen, distance.min(1), atol=1e-6)
    beyond = table.decode(table.encode(torch.full((1, 7), 5.0)))
    np.testing.assert_allclose(beyond[0, 0], high[0], rtol=1e-5)


def test_every_token_survives_a_round_trip(demonstrations: np.ndarray) -> None:
    table = fitted(demonstrations)
    tokens = torch.arange(65)[:, None].expand(65, 7)
    again = table.encode(table.decode(tokens))
    for dim in (0, 1, 2, 5, 6):
        assert torch.equal(again[:, dim], tokens[:, dim])


def test_still_dimensions_decode_to_their_constant_from_any_token(demonstrations: np.ndarray) -> None:
    table = fitted(demonstrations)
    decoded = table.decode(torch.randint(0, 65, (50, 7), generator=torch.Generator().manual_seed(0)))
    assert (decoded[:, 3] == 0).all()
    assert (decoded[:, 4] == 0.25).all()
    assert (table.encode(decoded)[:, 3:5] == 32).all()


def test_a_rare_motion_is_not_lost_between_the_quantiles() -> None:
    data = np.zeros((1000, 7), dtype=np.float32)
    data[:5, 2] = 0.5  # half a percent
    table = fitted(data)
    assert float(table.decode(table.encode(torch.full((1, 7), 0.5)))[0, 2]) == 0.5


def test_shapes_and_state(demonstrations: np.ndarray) -> None:
    table = fitted(demonstrations)
    chunk = torch.zeros(4, 8, 7)
    assert table.encode(chunk).shape == (4, 8, 7)
    assert table.encode(chunk).dtype == torch.int64
    assert table.decode(table.encode(chunk)).dtype == torch.float32
    other = ActionBins(65, 7)
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.centres, table.centres)


@pytest.mark.parametrize("bins", [1, 2, 64])
def test_an_even_number_of_bins_is_refused(bins: int) -> None:
    with pytest.raises(WovrError, match="odd"):
        ActionBins(bins, 7)


def test_bad_demonstrations_are_refused() -> None:
    table = ActionBins(9, 7)
    with pytest.raises(WovrError, match=r"\(N, 7\)"):
        table.fit(np.zeros((5, 6), dtype=np.float32))
    with pytest.raises(WovrError, match="NaN"):
        table.fit(np.full((5, 7), np.nan, dtype=np.float32))
    with pytest.raises(WovrError, match="quantile"):
        table.fit(np.zeros((5, 7), dtype=np.float32), quantile=0.5)
