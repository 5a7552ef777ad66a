"""The gate's decisions on made-up audits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wovr_core.audit.gate import AuditedSuccess, GateConfig, decide
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK

CONFIG = GateConfig(every=2, sample=8, bound=0.25, least=4, window=20, min_chunks=2)


def successes(*pairs: tuple[int, bool]) -> list[AuditedSuccess]:
    return [AuditedSuccess(depth, false) for depth, false in pairs]


def test_a_rate_within_the_bound_goes_on() -> None:
    audited = successes((20, False), (30, False), (40, True), (50, False))
    verdict = decide(audited, 10, CONFIG)
    assert (verdict.action, verdict.chunks, verdict.false, verdict.audited) == ("go_on", 10, 1, 4)


def test_too_few_audits_decide_nothing() -> None:
    assert decide(successes((20, True), (30, True), (40, True)), 10, CONFIG).action == "go_on"


def test_rollouts_are_shortened_to_the_depth_that_can_be_trusted() -> None:
    audited = successes(*[(20 + i, False) for i in range(6)], (60, True), (61, True), (62, True), (70, True))
    verdict = decide(audited, 10, CONFIG)
    assert verdict.action == "shorten"
    assert verdict.chunks == 7  # within 8 chunks (64 actions) 3 of 9 are false, within 7 none of 6
    assert (verdict.false, verdict.audited) == (4, 10)
    assert decide(audited, verdict.chunks, CONFIG).action == "go_on"


def test_rl_stops_where_no_depth_can_be_trusted() -> None:
    audited = successes((17, True), (20, True), (25, False), (40, False), (41, True))
    assert decide(audited, 10, CONFIG).action == "stop"
    assert decide(successes((80, False)), 0, CONFIG).action == "stop"


def test_only_the_newest_count() -> None:
    old = successes(*[(20, True)] * 20)
    assert decide(old, 10, CONFIG).action == "stop"
    assert decide(old + successes(*[(20, False)] * 20), 10, CONFIG).action == "go_on"


@given(
    st.lists(st.tuples(st.integers(1, 96), st.booleans()), max_size=40),
    st.integers(1, 12),
)
def test_the_rate_of_what_is_left_is_within_the_bound_or_rl_stops(pairs: list[tuple[int, bool]], chunks: int) -> None:
    audited = successes(*pairs)
    verdict = decide(audited, chunks, CONFIG)
    if verdict.action == "go_on":
        assert verdict.chunks == chunks
        assert verdict.audited < CONFIG.least or verdict.false <= CONFIG.bound * verdict.audited
    elif verdict.action == "shorten":
        assert CONFIG.min_chunks <= verdict.chunks < chunks
        again = decide(audited, verdict.chunks, CONFIG)
        deeper = any(d > verdict.chunks * CHUNK for d, _ in pairs[: -CONFIG.window])
        assert again.action == "go_on" or deeper  # older, shallower ones come into the window again
    else:
        assert verdict.chunks == 0


def test_the_budget_of_replays() -> None:
    assert CONFIG.replays(updates=7, tasks=3) == 3 * 8 * 3
    assert GateConfig().replays(updates=7, tasks=3) == 0


@pytest.mark.parametrize("wrong", [{"bound": 1.0}, {"bound": -0.1}, {"sample": 0}, {"least": 9, "window": 8}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(WovrError, match="gate"):
        GateConfig(**wrong)
