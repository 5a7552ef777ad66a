"""What the Review page may ask for: by whom, twice, after a claim ran out, and without learning who said what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.review.labelling import Labelling
from workbench.review.log import ReviewError, ReviewLog
from workbench.review.queue import ClaimLostError, ReviewQueue
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.server.roles import ForbiddenError, Role, User
from workbench.store.store import Store

ANN, BEN = User("ann", Role.ANNOTATOR), User("ben", Role.ANNOTATOR)
OPERATOR = User("olga", Role.OPERATOR)
VIEWER = User("vic", Role.VIEWER)
SPAN = {"id": "s", "start": 3, "end": 9, "label": "teleports", "severity": 2, "note": ""}
MINUTE = 60.0


@pytest.fixture
def labelling(make_queue: Callable[..., ReviewQueue], sqlite_store: Store) -> Labelling:
    return Labelling(make_queue(sqlite_store, double_share=1.0))


def test_every_operation_asks_for_its_role(labelling: Labelling) -> None:
    annotators: dict[str, Callable[[User], Any]] = {
        "next": lambda user: labelling.next(user),
        "renew": lambda user: labelling.renew(user, "a/imagine/r-false", 0.0),
        "release": lambda user: labelling.release(user, "a/imagine/r-false"),
        "skip": lambda user: labelling.skip(user, "a/imagine/r-false", 0.0, "why"),
        "submit": lambda user: labelling.submit(user, "a/imagine/r-false", 0.0),
        "progress": lambda user: labelling.progress(user),
    }
    operators: dict[str, Callable[[User], Any]] = {
        "disputed": lambda user: labelling.disputed(user),
        "dispute": lambda user: labelling.dispute(user, "a/imagine/r-false"),
        "adjudicate": lambda user: labelling.adjudicate(user, "a/imagine/r-false", [], "why"),
        "unseen": lambda user: labelling.unseen(user),
        "set_gold": lambda user: labelling.set_gold(user, "a/imagine/r-false", [], "why"),
        "retire_gold": lambda user: labelling.retire_gold(user, "a/imagine/r-false", "why"),
        "gold_from_audit": lambda user: labelling.gold_from_audit(user, 0.5),
        "quality": lambda user: labelling.quality(user),
    }
    public = {name for name in dir(Labelling) if not name.startswith("_")} - {"spans_of", "queue", "decisions"}
    assert public == annotators.keys() | operators.keys(), "a new operation needs its role tested here"
    for act in annotators.values():
        with pytest.raises(ForbiddenError, match="takes the role annotator"):
            act(VIEWER)
    for act in operators.values():
        with pytest.raises(ForbiddenError, match="takes the role operator"):
            act(ANN)
    assert labelling.next(OPERATOR) is not None, "an operator may do what an annotator may"


def test_what_is_sent_twice_happens_once(labelling: Labelling, run: Path, mark: Callable[..., None]) -> None:
    """As when the server was killed after it wrote, and before it answered."""
    claim = labelling.next(ANN)
    assert claim is not None
    mark("ann", claim.key[1], "s1", 3, 9)
    assert [labelling.submit(ANN, claim.id, claim.made) for _ in range(2)] == [1, 1]
    second = labelling.next(ANN)
    assert second is not None
    assert second.id != claim.id
    for _ in range(2):
        labelling.skip(ANN, second.id, second.made, "cannot tell")
    third = labelling.next(ANN)
    assert third is not None
    for _ in range(2):
        labelling.release(ANN, third.id)
    assert [line.op for line in ReviewLog(run).lines()] == ["submit", "skip"]


def test_a_claim_survives_without_the_page_and_ends_without_it(labelling: Labelling, clock: Any) -> None:
    claim = labelling.next(ANN)
    assert claim is not None
    again = Labelling(ReviewQueue(labelling.queue.store, labelling.queue.config, now=clock))  # a new server
    assert again.renew(ANN, claim.id, claim.made).expires == clock() + labelling.queue.config.lease_seconds
    clock.time += labelling.queue.config.lease_seconds + 1
    with pytest.raises(ClaimLostError):
        again.renew(ANN, claim.id, claim.made)
    assert again.submit(ANN, claim.id, claim.made) == 0, "nobody else wanted it: the work counts"


def test_the_pace_is_of_the_time_at_work_and_of_today(labelling: Labelling, clock: Any) -> None:
    assert labelling.progress(ANN).per_minute is None
    for seconds in (20.0, 40.0):
        claim = labelling.next(ANN)
        assert claim is not None
        clock.time += seconds
        labelling.submit(ANN, claim.id, claim.made)
        clock.time += 10 * MINUTE  # coffee
    progress = labelling.progress(ANN)
    assert (progress.done_today, progress.per_minute) == (2, pytest.approx(2.0))
    clock.time += 24 * 60 * MINUTE
    assert labelling.progress(ANN).done_today == 0
    assert labelling.progress(BEN).done_today == 0


def test_a_claimed_start_from_a_browser_is_bounded(labelling: Labelling, run: Path, clock: Any) -> None:
    """`made` only measures time, and cannot measure centuries."""
    claim = labelling.next(ANN)
    assert claim is not None
    clock.time += labelling.queue.config.lease_seconds + 1
    labelling.submit(ANN, claim.id, -1e12)
    assert ReviewLog(run).lines()[0].seconds <= 24 * 3600


def _disputed(labelling: Labelling, mark: Callable[..., None]) -> str:
    """Both label everything; ann marks the first item, ben marks it elsewhere."""
    first = None
    for user, start in ((ANN, 3), (BEN, 20)):
        while claim := labelling.next(user):
            first = first or claim
            if claim.id == first.id:
                mark(user.name, claim.key[1], f"s-{user.name}", start, start + 5)
            labelling.submit(user, claim.id, claim.made)
    assert first is not None
    return first.id


def test_a_dispute_is_blind_until_it_is_decided(labelling: Labelling, mark: Callable[..., None]) -> None:
    item = _disputed(labelling, mark)
    assert labelling.disputed(OPERATOR) == [item]
    blind = labelling.dispute(OPERATOR, item)
    assert {name for name, _ in blind.sides} == {"A", "B"}
    assert sorted(span["start"] for _, spans in blind.sides for span in spans) == [3, 20]
    assert "ann" not in str(blind.to_json())
    assert "ben" not in str(blind.to_json())
    assert blind.decided is None
    labelling.adjudicate(OPERATOR, item, [SPAN], "the arm jumps at 3")
    open_ = labelling.dispute(OPERATOR, item)
    assert {name for name, _ in open_.sides} == {"ann", "ben"}
    assert open_.decided is not None
    assert (open_.decided["by"], open_.decided["spans"][0]["end"]) == ("olga", 9)
    assert labelling.disputed(OPERATOR) == []
    found = labelling.quality(OPERATOR)
    assert [one["overruled"] for one in found["annotators"]] == [[0, 1], [1, 1]]


def test_nobody_decides_about_their_own_labels(labelling: Labelling, mark: Callable[..., None]) -> None:
    item = _disputed(labelling, mark)
    ann = User("ann", Role.OPERATOR)
    assert labelling.disputed(ann) == []
    for act in (lambda: labelling.dispute(ann, item), lambda: labelling.adjudicate(ann, item, [], "mine")):
        with pytest.raises(ReviewError, match="a third person must decide"):
            act()


def test_blind_items_show_each_their_own_spans(labelling: Labelling, run: Path, mark: Callable[..., None]) -> None:
    claim = labelling.next(ANN)
    assert claim is not None
    key = claim.key[1]
    mark("ann", key, "s-ann", 3, 9)
    mark("ben", key, "s-ben", 5, 9)
    log = SpanLog(run / LOG_NAME)
    for user, own in ((ANN, "s-ann"), (BEN, "s-ben")):
        # A SpanLog is called by the annotation key, as ItemSpans calls it for the page.
        assert [span.id for span in labelling.spans_of(user, claim.id, log, log).spans(key)] == [own]


def test_gold_is_listed_and_its_share_checked(labelling: Labelling) -> None:
    made = labelling.gold_from_audit(OPERATOR, 1.0)
    assert {one["id"] for one in labelling.quality(OPERATOR)["gold"]} == set(made) != set()
    labelling.retire_gold(OPERATOR, made[0], "seen too often")
    assert len(labelling.quality(OPERATOR)["gold"]) == len(made) - 1
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ReviewError, match="share"):
            labelling.gold_from_audit(OPERATOR, share)
    with pytest.raises(ReviewError, match="no such item"):
        labelling.submit(ANN, "../../etc/passwd", 0.0)


def test_what_nobody_has_met_can_be_made_gold(labelling: Labelling, mark: Callable[..., None]) -> None:
    before = labelling.unseen(OPERATOR)
    assert before == [entry.id for entry in labelling.queue.ranked()]
    held, chosen = labelling.next(ANN), before[-1]
    assert held is not None
    labelling.set_gold(OPERATOR, chosen, [SPAN], "it jumps")
    assert labelling.unseen(OPERATOR) == [one for one in before if one not in (held.id, chosen)]
    assert labelling.unseen(OPERATOR, limit=1) == labelling.unseen(OPERATOR)[:1]
