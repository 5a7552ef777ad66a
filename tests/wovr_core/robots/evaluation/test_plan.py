"""The plan: seeded, balanced, blind, and never changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.plan import PLAN, SEALED, ProtocolConfig, assign, open_envelope, schedule_of
from wovr_core.robots.evaluation.records import TamperedError


def test_each_block_is_one_condition_with_each_policy_once() -> None:
    protocol = ProtocolConfig(trials=30, seed=5)
    schedule = schedule_of(protocol, 2, range(12))
    assignment = assign(protocol, ["a", "b"], "salt")
    assert [t.number for t in schedule] == list(range(1, 61))
    for block in range(1, 31):
        pair = [t for t in schedule if t.block == block]
        assert len({t.condition for t in pair}) == 1
        assert sorted(assignment[t.number - 1] for t in pair) == ["a", "b"]
    # 30 blocks over 12 conditions: each twice, six of them three times.
    used = Counter(t.condition for t in schedule[::2])
    assert sorted(used.values()) == [2] * 6 + [3] * 6
    assert len({t.seed for t in schedule}) == 60


def test_the_schedule_follows_from_the_seed_and_the_assignment_from_the_secret() -> None:
    protocol = ProtocolConfig(trials=20, seed=5)
    assert schedule_of(protocol, 2, range(50)) == schedule_of(protocol, 2, range(50))
    assert schedule_of(protocol, 2, range(50)) != schedule_of(ProtocolConfig(trials=20, seed=6), 2, range(50))
    assert assign(protocol, ["a", "b"], "salt") == assign(protocol, ["a", "b"], "salt")
    assert assign(protocol, ["a", "b"], "salt") != assign(protocol, ["a", "b"], "pepper")
    first = Counter(assign(protocol, ["a", "b"], f"salt {i}")[0] for i in range(400))
    assert 150 < first["a"] < 250  # either policy begins as often as the other


def test_second_labels_are_drawn_beforehand() -> None:
    schedule = schedule_of(ProtocolConfig(trials=20, second_labels=0.25), 2, range(5))
    assert sum(t.second_label for t in schedule) == 10


def test_the_plan_does_not_tell_who_acts(make_evaluation: Callable[..., Evaluation]) -> None:
    evaluation = make_evaluation(trials=8)
    text = (evaluation.folder / PLAN).read_text()
    assert "assignment" not in text
    assert "a salt" not in text
    names = [c["name"] for c in json.loads(text)["contestants"]]
    assert names == sorted(names)
    assert oct((evaluation.folder / SEALED).stat().st_mode & 0o777) == "0o600"
    assert set(open_envelope(evaluation.folder, evaluation.plan)) == {"before", "after"}


def test_another_envelope_is_refused(make_evaluation: Callable[..., Evaluation]) -> None:
    evaluation = make_evaluation()
    envelope = evaluation.folder / SEALED
    sealed = json.loads(envelope.read_text())
    sealed["assignment"] = sealed["assignment"][::-1]
    envelope.write_text(json.dumps(sealed))
    with pytest.raises(TamperedError, match="envelope"):
        evaluation.policy_of(1)


def test_a_plan_is_written_once_and_holds_one_policy_or_two(make_evaluation: Callable[..., Evaluation]) -> None:
    make_evaluation()
    with pytest.raises(WovrError, match="never changed"):
        make_evaluation()
    with pytest.raises(WovrError, match="one policy or two"):
        make_evaluation("f", contestants=("x", "y", "z"))
    with pytest.raises(WovrError, match="one policy or two"):
        make_evaluation("g", contestants=("x", "x"))
    assert len(make_evaluation("h", contestants=("x",)).plan.schedule) == 3
