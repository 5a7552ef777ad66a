from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.span_log import MemorySpans
from workbench.scrubber.spans import LABELS, SpanError, parse_span

GOOD: dict[str, Any] = {"id": "s1", "start": 2, "end": 5, "label": "teleports", "severity": 2, "note": "büchse\nweg"}


def _parse(value: object) -> Any:
    return parse_span(value, frames=10, author="ann", time="now", version=1)


def test_a_good_span_round_trips() -> None:
    span = _parse(GOOD | {"author": "forged", "version": 99})
    assert span.to_json() == GOOD | {"author": "ann", "time": "now", "version": 1}


def test_the_label_list_is_the_designed_one() -> None:
    assert len(LABELS) == 10
    assert len({label.key for label in LABELS}) == 10
    assert all(label.guide for label in LABELS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"start": -1}, "0 <= start"),
        ({"start": 6}, "start <= end"),
        ({"end": 10}, "< 10"),
        ({"start": True}, "whole number"),
        ({"end": 5.0}, "whole number"),
        ({"end": None}, "whole number"),
        ({"label": "nonsense"}, "unknown label"),
        ({"label": ["teleports"]}, "unknown label"),
        ({"severity": 4}, "1, 2 or 3"),
        ({"note": 7}, "must be text"),
        ({"note": "x" * 2001}, "2000"),
        ({"note": "\x00"}, "control"),
        ({"note": "\ud800"}, "control"),
        ({"id": "../etc"}, "letters, digits"),
        ({"id": ""}, "letters, digits"),
    ],
)
def test_bad_fields_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SpanError, match=says):
        _parse(GOOD | change)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "op", "event", "span"]), inner),
    max_leaves=12,
)


@given(_json, st.sampled_from(["put", "delete", "undo", None]))
def test_the_desk_never_raises_at_a_browsers_word(value: Any, op: str | None) -> None:
    desk = SpanDesk(MemorySpans(), "r", 10)
    message = {**value, "rollout": "r", "op": op} if isinstance(value, dict) else value
    answer = desk.handle(message, "ann")
    assert answer["kind"] == "ack"
    assert answer["ok"] == (answer["error"] is None)
    assert len(desk.spans()) == (1 if answer["ok"] else 0)


def test_the_desk_refuses_other_rollouts_and_readers() -> None:
    store = MemorySpans()
    edit = {"event": "e1", "op": "put", "rollout": "r", "version": 1, "span": GOOD}
    assert "another rollout" in SpanDesk(store, "q", 10).handle(edit, "ann")["error"]
    assert "reading only" in SpanDesk(store, "r", 10, can_edit=False).handle(edit, "ann")["error"]
    assert store.spans("r") == []
    answer = SpanDesk(store, "r", 10).handle(edit, "ann")
    assert answer["ok"]
    assert answer["version"] == 1
    assert answer["spans"][0]["author"] == "ann"


class _FullDisk(MemorySpans):
    def append(self, *_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")


def test_a_full_disk_asks_to_try_again() -> None:
    edit = {"event": "e1", "op": "put", "rollout": "r", "version": 1, "span": GOOD}
    answer = SpanDesk(_FullDisk(), "r", 10).handle(edit, "ann")
    assert (answer["ok"], answer["retry"]) == (False, True)
    assert "No space left" in answer["error"]
    assert "spans" not in answer
