"""Adjudication, known answers, and what is made of them per annotator."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from workbench.review.decisions import Decisions
from workbench.review.log import LOG_NAME, ReviewError
from workbench.review.quality import measure
from workbench.review.queue import ReviewQueue
from workbench.scrubber.spans import Span, SpanError
from workbench.store.store import Store
from wovr_core.errors import UnknownNameError

Make = Callable[..., ReviewQueue]
FALSE = "a/imagine/r-false"


def span(start: int, end: int, label: str = "teleports", name: str = "s") -> Span:
    return Span(name, start, end, label, 2, "", "", "", 1)


def label(queue: ReviewQueue, clock: Any, **spans: list[Span]) -> None:
    """Each annotator claims what is first for them and hands these spans in after an hour."""
    claims = {name: queue.claim(name) for name in spans}
    clock.time += 600
    for name, claim in claims.items():
        assert claim is not None
        assert claim.id == FALSE
        queue.submit(claim, spans[name])


def test_two_that_agree_decide(store: Store, make_queue: Make, clock: Any) -> None:
    queue = make_queue(store, double_share=1.0)
    decisions = Decisions(queue)
    assert decisions.of(FALSE) is None
    label(queue, clock, ann=[span(20, 32)], bob=[span(19, 32)])
    found = decisions.of(FALSE)
    assert found is not None
    assert (found.how, found.spans[0].start, found.by) == ("agreed", 20, "ann, bob")
    assert decisions.disputed() == []


def test_a_third_decides_and_all_of_it_stays(store: Store, make_queue: Make, clock: Any, run: Path) -> None:
    queue = make_queue(store, double_share=1.0)
    decisions = Decisions(queue)
    with pytest.raises(ReviewError, match="labelled by 0"):
        decisions.adjudicate(FALSE, "cleo", [], "why")
    label(queue, clock, ann=[span(20, 32)], bob=[])
    assert decisions.of(FALSE) is None
    assert decisions.disputed() == [FALSE]
    with pytest.raises(ReviewError, match="a third person"):
        decisions.adjudicate(FALSE, "bob", [], "I was right")
    with pytest.raises(ReviewError, match="needs its reason"):
        decisions.adjudicate(FALSE, "cleo", [], "")
    with pytest.raises(SpanError, match="end < 33"):
        decisions.adjudicate(FALSE, "cleo", [span(20, 33).to_json()], "why")
    decisions.adjudicate(FALSE, "cleo", [], "cannot see it")
    decisions.adjudicate(FALSE, "dan", [span(20, 32).to_json()], "at frame 20 it is there")
    found = decisions.of(FALSE)
    assert found is not None
    assert (found.how, found.by, found.why, len(found.spans)) == ("adjudicated", "dan", "at frame 20 it is there", 1)
    kept = [json.loads(line) for line in (run / LOG_NAME).read_text().splitlines()]
    assert [(line["op"], line["author"]) for line in kept[2:]] == [("adjudicate", "cleo"), ("adjudicate", "dan")]
    assert decisions.disputed() == []
    quality = {one.annotator: one for one in measure(queue.book).annotators}
    assert [(q.overruled.count, q.overruled.total) for q in quality.values()] == [(0, 1), (1, 1)]


def test_quality_against_each_other(sqlite_store: Store, make_queue: Make, clock: Any) -> None:
    queue = make_queue(sqlite_store, double_share=1.0)
    label(queue, clock, ann=[span(20, 32), span(2, 4, "other", "t")], bob=[span(16, 29)])
    quality = measure(queue.book)
    a, b = np.zeros(33, bool), np.zeros(33, bool)
    a[20:33] = a[2:5] = b[16:30] = True
    ann, bob = quality.annotators
    for found in (ann.agreement, bob.agreement, quality.agreement):
        assert found.kappa.value == pytest.approx(cohen_kappa_score(a, b))
        assert found.iou == pytest.approx(2 * (10 / 17) / 3)
        assert (found.same.count, found.same.total) == (0, 1)
    a[2:5] = False
    assert quality.by_label["teleports"].value == pytest.approx(cohen_kappa_score(a, b))
    assert set(quality.by_label) == {"teleports", "other"}
    assert (ann.items, ann.hours, ann.items_per_hour) == (1, pytest.approx(1 / 6), pytest.approx(6))
    assert json.loads(json.dumps(quality.to_json(), allow_nan=False))["annotators"][0]["gold_f1"] is None


def test_quality_against_gold(store: Store, make_queue: Make) -> None:
    queue = make_queue(store, gold_share=1.0)
    decisions = Decisions(queue)
    decisions.gold_from_audit(share=1.0)
    for name, sees in (("good", True), ("bad", False)):
        for _ in range(4):
            claim = queue.claim(name)
            assert claim is not None
            answer = {"r-false": [span(12, 32, "false_success")], "r-missed": [span(32, 32, "missed_success")]}
            spans = answer.get(claim.key[1], []) if sees else [span(0, 3, "false_success", "w")]
            queue.submit(claim, [*spans, span(0, 5, "other", "o")])
    bad, good = measure(queue.book).annotators
    assert (good.gold.count, good.gold.total, good.gold_f1) == (4, 4, 1.0), "other labels are not judged"
    assert (bad.gold.count, bad.gold.total, bad.gold_f1) == (1, 4, 0.0), "right label, wrong frames"
    assert math.isnan(good.items_per_hour)
    assert good.agreement.kappa.items == 0, "gold says nothing about agreement"
    assert decisions.of(FALSE) is None, "the audit's gold is no decision about other labels"


def test_gold_by_hand(store: Store, make_queue: Make) -> None:
    queue = make_queue(store)
    decisions = Decisions(queue)
    claim = queue.claim("ann")
    assert claim is not None
    with pytest.raises(ReviewError, match="new to everybody"):
        decisions.set_gold(FALSE, "boss", [], "clear")
    queue.release(claim)
    with pytest.raises(UnknownNameError, match="did you mean 'teleports'"):
        decisions.set_gold(FALSE, "boss", [], "clear", judged=["teleport"])
    decisions.set_gold(FALSE, "boss", [span(20, 32).to_json()], "clear")
    found = decisions.of(FALSE)
    assert found is not None
    assert (found.how, found.by) == ("gold", "boss")
    with pytest.raises(ReviewError, match="retire it first"):
        decisions.adjudicate(FALSE, "cleo", [], "why")
    decisions.retire_gold(FALSE, "boss", "unclear after all")
    assert decisions.of(FALSE) is None
    assert queue.head()[0].id == FALSE
    with pytest.raises(ReviewError, match="no gold"):
        decisions.retire_gold(FALSE, "boss", "again")
    with pytest.raises(ReviewError, match="no record"):
        decisions.of("a/imagine/none")


def test_which_are_gold_depends_on_their_ids(sqlite_store: Store, make_queue: Make) -> None:
    queue = make_queue(sqlite_store)
    some = Decisions(queue).gold_from_audit(share=0.5)
    assert Decisions(queue).gold_from_audit(share=0.5) == [], "the same again: all of them are"
    rest = Decisions(queue).gold_from_audit(share=1.0)
    assert len(some) + len(rest) == 4
    assert not {*some} & {*rest}
