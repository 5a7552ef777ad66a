"""The ranking's formula, its treatment of what is missing, and its words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.review.scoring import Facts, RankingConfig, expected, reason, score, signals
from wovr_core.errors import WovrError

ALL = Facts(
    imagined_success=True,
    real_success=False,
    seed_rank=0.9,
    peak=24.0,
    first_divergent=20,
    divergence_threshold=12.0,
    p_success=0.55,
    reward_threshold=0.5,
)
NOTHING = expected([])


def test_signals_and_score_by_hand() -> None:
    found = signals(ALL)
    assert found == pytest.approx({"audit": 1.0, "seeds": 0.9, "divergence": 24 / 36, "reward": 0.9})
    assert score(found, NOTHING) == pytest.approx(1.0**0.4 * 0.9**0.2 * (2 / 3) ** 0.2 * 0.9**0.2)
    agreeing = signals(replace(ALL, real_success=True))
    assert score(agreeing, NOTHING) == pytest.approx(score(found, NOTHING) * 0.05**0.4), "floored, not silenced"


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"real_success": False}, {"real_success": True}),
        ({"seed_rank": 0.8}, {"seed_rank": 0.3}),
        ({"peak": 30.0}, {"peak": 5.0}),
        ({"p_success": 0.5}, {"p_success": 0.95}),
        ({"p_success": 0.5}, {"p_success": 0.05}),
    ],
)
def test_each_signal_moves_the_score(more: dict[str, float], less: dict[str, float]) -> None:
    high, low = (score(signals(replace(ALL, **change)), NOTHING) for change in (more, less))
    assert high > low


def test_what_is_missing_stands_at_what_is_expected() -> None:
    population = [signals(replace(ALL, real_success=real)) for real in (True, False, False, False)]
    middle = expected([*population, {}])
    assert middle["audit"] == 0.75
    assert expected([])["audit"] == 0.5
    unaudited = {name: value for name, value in signals(ALL).items() if name != "audit"}
    worst, best = score(population[1], middle), score(population[0], middle)
    assert best < score(unaudited, middle) < worst
    assert score({}, middle) == pytest.approx(score(middle, middle))


def test_a_signal_never_leaves_its_range() -> None:
    for facts in (replace(ALL, peak=0.0, p_success=0.0), replace(ALL, peak=255.0, p_success=1.0, reward_threshold=0.9)):
        assert all(0 <= value <= 1 for value in signals(facts).values())


def test_the_reason_in_words() -> None:
    assert reason(ALL) == (
        "imagined success, real failure; leaves reality at frame 20 (up to 24 grey levels of 255); "
        "disagrees with itself more than 90 % of its run; reward undecided: p 0.55 at threshold 0.50"
    )
    assert reason(Facts(False, True)) == "imagined failure, real success"
    assert reason(Facts(True)) == "not audited"
    assert reason(Facts(True, True)) == "nothing stands out; success confirmed"


@pytest.mark.parametrize("wrong", [{"audit": -0.1}, dict.fromkeys(("audit", "seeds", "divergence", "reward"), 0.0)])
def test_weights_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(WovrError, match="must not be negative"):
        RankingConfig(**wrong)
