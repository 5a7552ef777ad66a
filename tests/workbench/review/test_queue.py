"""Claims, leases, blind doubles, gold, submissions; on both databases."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from workbench.review.book import ReviewBook
from workbench.review.decisions import Decisions
from workbench.review.log import LOG_NAME, ReviewError
from workbench.review.queue import Claim, ClaimLostError, ReviewQueue
from workbench.review.ranking import QueueConfig, is_double
from workbench.review.visibility import BlindSpans, is_blind
from workbench.scrubber.span_log import LOG_NAME as SPANS
from workbench.scrubber.span_log import SpanLog
from workbench.scrubber.spans import SpanError
from workbench.store.database import DatabaseConfig
from workbench.store.indexer import Indexer
from workbench.store.review_tables import ReviewEvent
from workbench.store.store import Store
from wovr_core.errors import WovrError

Make = Callable[..., ReviewQueue]


def taken(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


def test_the_false_success_comes_first_with_its_reason(store: Store, make_queue: Make) -> None:
    head = make_queue(store).head()
    assert len(head) == 6, "rollouts, not episodes"
    assert head[0].id == "a/imagine/r-false"
    assert head[0].reason.startswith("imagined success, real failure; leaves reality at frame 20")
    assert {entry.id for entry in head[:2]} == {"a/imagine/r-false", "a/imagine/r-missed"}
    assert [e.score for e in head] == sorted((e.score for e in head), reverse=True)


def test_two_never_hold_one_item_and_a_claim_survives_a_refresh(store: Store, make_queue: Make) -> None:
    queue = make_queue(store)
    first = taken(queue.claim("ann"))
    assert taken(queue.claim("ann")).id == first.id
    others = [taken(queue.claim(name)).id for name in ("bob", "cleo", "dan", "eve", "fay")]
    assert len({first.id, *others}) == 6
    assert queue.claim("gus") is None
    assert queue.progress() == {"open": 6, "claimed": 6, "done": 0}


def test_a_lease_ends_unless_it_is_renewed(store: Store, make_queue: Make, clock: Any) -> None:
    queue = make_queue(store, lease_seconds=100.0)
    claim = taken(queue.claim("ann"))
    clock.time += 90
    assert queue.heartbeat(claim).expires == clock.time + 100
    clock.time += 90
    assert taken(queue.claim("bob")).id != claim.id, "renewed in time"
    clock.time += 11
    with pytest.raises(ClaimLostError, match="has expired"):
        queue.heartbeat(claim)
    assert taken(queue.claim("cleo")).id == claim.id, "it went back"
    with pytest.raises(ClaimLostError, match="others have the item"):
        queue.submit(claim, [])


def test_work_on_an_expired_claim_counts_while_it_is_wanted(store: Store, make_queue: Make, clock: Any) -> None:
    queue = make_queue(store, lease_seconds=100.0)
    claim = taken(queue.claim("ann"))
    clock.time += 500
    queue.submit(claim, [])
    assert claim.id not in {entry.id for entry in queue.head()}
    with pytest.raises(ClaimLostError, match=r"handed in .* before"):
        queue.submit(claim, [])


def test_released_goes_back_skipped_goes_to_others(store: Store, make_queue: Make) -> None:
    queue = make_queue(store)
    claim = taken(queue.claim("ann"))
    queue.release(claim)
    again = taken(queue.claim("ann"))
    assert again.id == claim.id
    with pytest.raises(ReviewError, match="say why"):
        queue.skip(again, " ")
    queue.skip(again, "too dark")
    assert taken(queue.claim("ann")).id != claim.id
    assert taken(queue.claim("bob")).id == claim.id


def test_a_submission_keeps_the_annotators_own_spans(
    store: Store, make_queue: Make, mark: Callable[..., None], clock: Any
) -> None:
    queue = make_queue(store)
    claim = taken(queue.claim("ann"))
    mark("ann", "r-false", "mine", 20, 32)
    mark("bob", "r-false", "theirs", 1, 2)
    clock.time += 60
    line = queue.submit(claim)
    assert [(s.id, s.start, s.end) for s in line.spans] == [("mine", 20, 32)]
    assert line.seconds == 60


def test_doubles_go_to_two_and_neither_sees_the_other(
    store: Store, make_queue: Make, run: Path, mark: Callable[..., None]
) -> None:
    queue = make_queue(store, double_share=1.0)
    ann, bob = taken(queue.claim("ann")), taken(queue.claim("bob"))
    assert ann.id == bob.id == "a/imagine/r-false"
    assert taken(queue.claim("cleo")).id != ann.id, "two, not three"
    mark("ann", "r-false", "x", 20, 32)
    log = SpanLog(run / SPANS)

    def seen(viewer: str) -> list[str]:
        state = queue.book.states_of(ann.key)
        blind = is_blind(queue.config, ann.id, state, viewer)
        return [s.id for s in (BlindSpans(log, log, "r-false", viewer) if blind else log).spans("r-false")]

    assert (seen("ann"), seen("bob"), seen("passer-by")) == (["x"], [], [])
    queue.submit(ann)
    assert (seen("bob"), seen("passer-by")) == ([], []), "the second is not done"
    queue.submit(bob)
    assert seen("bob") == seen("passer-by") == ["x"]


def test_a_hidden_span_cannot_be_touched(run: Path, mark: Callable[..., None]) -> None:
    mark("ann", "r-false", "x", 20, 32)
    log = SpanLog(run / SPANS)
    blind = BlindSpans(log, log, "r-false", "bob")
    body = {"id": "x", "start": 0, "end": 1, "label": "other", "severity": 1, "note": ""}
    edits = [
        {"event": "n1", "op": "put", "version": 2, "span": body},
        {"event": "n2", "op": "delete", "version": 2, "id": "x"},
        {"event": "n3", "op": "undo", "target": "e-x"},
    ]
    for edit in edits:
        with pytest.raises(SpanError, match="no such span"):
            blind.append(edit, rollout="r-false", author="bob", frames=33)
    assert blind.version("r-false", "x") == 0
    own = {"event": "n4", "op": "put", "version": 1, "span": body | {"id": "y"}}
    blind.append(own, rollout="r-false", author="bob", frames=33)
    assert [s.id for s in blind.spans("r-false")] == ["y"]
    with pytest.raises(SpanError, match="open for 'bob' alone"):
        blind.append(own | {"event": "n5"}, rollout="r-false", author="ann", frames=33)


def test_which_items_are_doubled_depends_on_seed_and_id_alone() -> None:
    ids = [f"run/stage/{n}" for n in range(2000)]
    config = QueueConfig(seed=3, double_share=0.2)
    chosen = [is_double(config, one) for one in ids]
    assert chosen == [is_double(QueueConfig(seed=3, double_share=0.2), one) for one in ids]
    assert 0.16 < sum(chosen) / len(ids) < 0.24
    assert chosen != [is_double(QueueConfig(seed=4, double_share=0.2), one) for one in ids]
    more = [is_double(QueueConfig(seed=3, double_share=0.5), one) for one in ids]
    assert all(b for a, b in zip(chosen, more, strict=True) if a), "a greater share adds, it moves nothing"


def test_gold_is_mixed_in_and_given_to_each_annotator_once(store: Store, make_queue: Make) -> None:
    queue = make_queue(store, gold_share=1.0)
    made = Decisions(queue).gold_from_audit(share=1.0)
    assert sorted(made) == [f"a/imagine/r-{n}" for n in ("failed", "false", "missed", "true")]
    assert not {entry.id for entry in queue.head()} & {*made}, "no part of the queue itself"
    served = []
    for _ in range(5):
        claim = taken(queue.claim("ann"))
        other = taken(queue.claim("bob"))
        assert other.id != claim.id, "not at once"
        queue.release(other)
        queue.submit(claim, [])
        served.append(claim.id)
    assert sorted(served[:4]) == sorted(made)
    assert served[4] not in made
    assert taken(queue.claim("cleo")).id in made, "each is measured by all of them"


def test_without_a_turn_for_gold_there_is_none(store: Store, make_queue: Make) -> None:
    queue = make_queue(store, gold_share=0.0)
    Decisions(queue).gold_from_audit(share=1.0)
    assert taken(queue.claim("ann")).id.startswith("a/rl/")


def test_reviews_outlast_the_database(store: Store, make_queue: Make, run: Path, address: str) -> None:
    queue = make_queue(store)
    claim = taken(queue.claim("ann"))
    queue.submit(claim, [])
    with (run / LOG_NAME).open("ab") as file:
        file.write(b'{"event": "x", "op": ["submit"]}\n{"event": "torn')
    store.close()
    with Store.open_fresh(DatabaseConfig(address)) as fresh:
        Indexer(fresh).update([run])
        again = ReviewQueue(fresh, queue.config, now=queue.now)
        assert claim.id not in {entry.id for entry in again.head()}
        other = taken(again.claim("ann"))
        again.submit(other, [])
        assert ReviewBook(fresh).follow() == 0
        with fresh.read() as session:
            assert session.scalar(select(func.count()).select_from(ReviewEvent)) == 2
    lines = (run / LOG_NAME).read_text().splitlines()
    assert [json.loads(lines[n])["author"] for n in (0, 3)] == ["ann", "ann"], "the torn line stands alone"


def _claim_all(address: str, name: str, run: Path, found: Any) -> None:
    with Store.open(DatabaseConfig(address)) as store:
        queue = ReviewQueue(store, QueueConfig(double_share=0.0, gold_share=0.0))
        while claim := queue.claim(name):
            found.put((name, claim.id))
            queue.submit(claim, [])


@pytest.mark.fault
def test_processes_that_claim_at_once_share_the_items_out(address: str, run: Path) -> None:
    with Store.open(DatabaseConfig(address)) as store:
        Indexer(store).update([run])
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    workers = [context.Process(target=_claim_all, args=(address, f"p{n}", run, found)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    claims = [found.get(timeout=5) for _ in range(6)]
    assert len({item for _, item in claims}) == 6, "no item twice"
    assert found.empty()


@pytest.mark.parametrize("wrong", [{"double_share": 1.5}, {"gold_share": -0.1}, {"lease_seconds": 0.0}])
def test_settings_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(WovrError, match="must"):
        QueueConfig(**wrong)  # type: ignore[arg-type]


def test_unknown_names(sqlite_store: Store, make_queue: Make) -> None:
    with pytest.raises(WovrError, match="no run 'b'; it has a"):
        make_queue(sqlite_store, runs=("b",)).head()
    with pytest.raises(ReviewError, match="needs an annotator"):
        make_queue(sqlite_store).claim(" ")
