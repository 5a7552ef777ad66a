"""Power against enumeration and simulation, and what peeking does."""

from __future__ import annotations

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.power import barnard_table, power, rejected_by, trials_needed
from wovr_core.robots.evaluation.statistics import barnard


@pytest.mark.parametrize("trials", [1, 4, 9])
def test_the_table_is_barnards_test_of_every_outcome(trials: int) -> None:
    table = barnard_table(trials)
    for k in range(trials + 1):
        for j in range(trials + 1):
            assert table[k, j] == pytest.approx(barnard((k, trials), (j, trials)), abs=2e-3), (k, j)
    np.testing.assert_allclose(table, table.T, atol=1e-12)
    np.testing.assert_allclose(table, table[::-1, ::-1], atol=1e-9)


def test_power_is_the_share_of_simulated_evaluations_that_reject() -> None:
    generator, trials, rates = np.random.default_rng(2), 20, (0.4, 0.8)
    counts = generator.binomial(trials, rates, size=(20_000, 2))
    simulated = (barnard_table(trials)[counts[:, 0], counts[:, 1]] <= 0.05).mean()
    assert power(rates, trials) == pytest.approx(simulated, abs=0.012)
    assert power(rates, trials) == pytest.approx(power((0.8, 0.4), trials))
    assert power(rates, 10) < power(rates, 20) < power(rates, 40)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_false_alarms_stay_below_alpha(rate: float) -> None:
    for trials in (6, 17, 30):
        assert power((rate, rate), trials) <= 0.05 + 2e-3


def test_how_many_trials_are_needed() -> None:
    needed = trials_needed((0.4, 0.8), candidates=range(5, 60, 5))
    assert needed is not None
    assert power((0.4, 0.8), needed) >= 0.8 > power((0.4, 0.8), needed - 5)
    assert trials_needed((0.5, 0.55), candidates=(10, 20)) is None
    with pytest.raises(WovrError, match="1 to 200"):
        power((0.1, 0.2), 201)
    with pytest.raises(WovrError, match="from 0 to 1"):
        power((0.1, 1.2), 20)


def test_peeking_raises_false_alarms_and_e_values_do_not() -> None:
    outcomes = np.random.default_rng(5).random((3000, 40, 2)) < 0.5
    peeking, sequential = rejected_by(outcomes, 0.05, "peeking"), rejected_by(outcomes, 0.05, "sequential")
    for curve in (peeking, sequential):
        assert curve.shape == (40,)
        assert (np.diff(curve) >= 0).all()
    assert peeking[:4].max() == 0
    assert peeking[-1] > 0.12
    assert sequential[-1] <= 0.05


def test_one_look_is_the_test_itself() -> None:
    outcomes = np.random.default_rng(6).random((4000, 12, 2)) < (0.3, 0.9)
    once = rejected_by(outcomes, 0.05, "peeking", first=12)
    assert once[10] == 0
    assert once[11] == pytest.approx(power((0.3, 0.9), 12), abs=0.03)
