"""The label-free score on imaginations whose disagreement is known."""

import numpy as np
import pytest

from wovr_core.audit.hallucination import (
    SCORES,
    against_rivals,
    frame_disagreement,
    mean_rank,
    outcome_disagreement,
    rank_quality,
    with_disagreement,
)
from wovr_core.errors import WovrError


def test_frames_that_agree_and_frames_that_do_not() -> None:
    first = np.full((3, 4, 4, 3), 100, dtype=np.uint8)
    assert frame_disagreement(first, np.repeat(first[None], 2, axis=0)) == 0
    other = first[None].copy()
    other[0, :, :2] = 120  # half of the pixels, deviation 10 of two values 20 apart
    assert frame_disagreement(first, other) == pytest.approx(5)


def test_outcomes_are_compared_with_the_rollouts_own() -> None:
    p = np.array([[0.1, 0.9, 0.1], [0.2, 0.2, 0.2], [0.6, 0.1, 0.1], [0.0, 0.0, 0.5]])
    assert outcome_disagreement(True, p, 0.5) == 0.25
    assert outcome_disagreement(False, p, 0.5) == 0.75
    with pytest.raises(WovrError, match="at least one"):
        outcome_disagreement(True, p[:0], 0.5)


def test_ranks_do_not_depend_on_scales() -> None:
    a, b = np.array([3.0, 1.0, 2.0]), np.array([30.0, 10.0, 10.0])
    np.testing.assert_allclose(mean_rank([a, b]), [1.0, 0.125, 0.375])
    np.testing.assert_allclose(mean_rank([np.exp(a), 5 * b - 7]), mean_rank([a, b]))
    assert with_disagreement([]) == []


def test_a_score_that_sees_hallucinations_beats_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    wrong = np.repeat([True, False], 60)
    rows = [
        {
            name: float(rng.normal(2.0 * w if name.startswith(("seed", "weights")) else 0.0)) for name in SCORES
        }
        for w in wrong
    ]  # fmt: skip
    ranked = with_disagreement(rows)
    quality = rank_quality(ranked, wrong)
    assert quality["disagreement"].value > 0.97 > quality["seed_frames"].value - 0.1
    assert quality["depth"].interval[0] < 0.5 < quality["depth"].interval[1]
    for difference, low, high in against_rivals(ranked, wrong).values():
        assert 0.3 < low < difference < high
