"""Annotations: the run's log is the truth, the store's rows follow it; nothing that was acknowledged is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.history import VersionConflictError
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.store.annotations import RunAnnotations, span_of
from workbench.store.database import Database, DatabaseConfig, StoreError
from workbench.store.indexer import Indexer
from workbench.store.run_rows import register
from workbench.store.search import Search, page
from workbench.store.store import Store
from workbench.store.tables import Annotation, AnnotationEvent
from wovr_core.errors import CorruptFileError

Open = Callable[[], Store]


def annotations(store: Store, run: Path) -> RunAnnotations:
    run.mkdir(exist_ok=True)
    return RunAnnotations(store, register(store, [run])[run][0], run)


def put(event: str, span: str = "s", version: int = 1, **more: Any) -> dict[str, Any]:
    record = {"id": span, "start": 1, "end": 5, "label": "other", "severity": 1, "note": ""} | more
    return {"event": event, "op": "put", "version": version, "span": record}


def add(spans: RunAnnotations, message: dict[str, Any], author: str = "ann", rollout: str = "r") -> None:
    spans.append(message, rollout=rollout, author=author, frames=100)


def add_and_follow(spans: RunAnnotations, message: dict[str, Any]) -> None:
    add(spans, message)
    spans.follow()


def rows(store: Store) -> dict[str, Any]:
    with store.read() as session:
        return {row.span_id: (span_of(row), row.created_by) for row in session.scalars(select(Annotation))}


def test_rows_are_what_the_log_says(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    spans = annotations(store, tmp_path / "a")
    add(spans, put("e1"))
    add(spans, put("e2", version=2, label="teleports", severity=3, note="=cmd"), author="bob")
    add(spans, put("e3", span="t"), rollout="q")
    add(spans, put("e4", span="u"))
    add(spans, {"event": "e5", "op": "delete", "id": "u", "version": 2})
    spans.follow()
    found = rows(store)
    assert found == {"s": (spans.spans("r")[0], "ann"), "t": (spans.spans("q")[0], "ann")}
    assert found["s"][0].author == "bob"
    add(spans, {"event": "e6", "op": "undo", "target": "e5"})
    add(spans, {"event": "e7", "op": "undo", "target": "e2"})
    spans.follow()
    found = rows(store)
    assert sorted(found) == ["s", "t", "u"]
    assert (found["s"][0].label, found["s"][0].version, found["s"][0].author) == ("other", 3, "ann")
    with store.read() as session:
        events = list(session.scalars(select(AnnotationEvent.event).order_by(AnnotationEvent.position)))
    assert events == [f"e{n}" for n in range(1, 8)], "append-only, in the log's order"


@pytest.mark.fault
def test_an_edit_of_an_old_version_names_both_and_overwrites_nothing(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    mine, theirs = annotations(store, tmp_path / "a"), annotations(open_store(), tmp_path / "a")
    add(mine, put("e1"))
    add(theirs, put("e2", version=2, note="theirs"), author="bob")
    with pytest.raises(VersionConflictError, match=r"made on version 1, it is at version 2, by bob at 20\d\d") as error:
        add(mine, put("e3", version=2, note="mine"))
    assert (error.value.seen, error.value.have, error.value.span_id) == (1, 2, "s")
    mine.follow()
    assert rows(store)["s"][0].note == "theirs"
    answer = SpanDesk(mine, "r", 100).handle({**put("e4", version=2), "rollout": "r"}, "ann")
    assert not answer["ok"]
    assert answer["version"] == 2
    assert answer["spans"][0]["note"] == "theirs", "the annotator is shown what is there now"


def test_what_another_wrote_into_the_log_alone_is_taken_in(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    spans = annotations(store, tmp_path / "a")
    add(spans, put("e1"))
    SpanLog(tmp_path / "a" / LOG_NAME).append(put("e2", span="t"), rollout="r", author="notebook", frames=9)
    assert sorted(rows(store)) == ["s"]
    assert spans.follow() == 1
    assert spans.follow() == 0
    assert rows(store)["t"][1] == "notebook"


def test_a_log_that_was_put_back_from_a_copy_replaces_its_rows(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    spans = annotations(store, tmp_path / "a")
    for n in range(3):
        add(spans, put(f"e{n}", span=f"s{n}"))
    spans.follow()
    (tmp_path / "a" / LOG_NAME).unlink()
    SpanLog(tmp_path / "a" / LOG_NAME).append(put("x", span="other"), rollout="r", author="ann", frames=9)
    assert annotations(store, tmp_path / "a").follow() == 1
    assert sorted(rows(store)) == ["other"]


def test_spans_can_be_searched_over_all_runs(store: Store, make_run: Callable[..., Path], tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name) for name in "ab"]
    indexer = Indexer(store)
    indexer.update(runs)
    add(indexer.annotations(runs[1]), put("e1", label="teleports"), rollout="r-false")
    add(indexer.annotations(runs[1]), put("e2"), rollout="collect/e1", author="bob")
    assert indexer.annotations(runs[1]).grown()
    indexer.follow_logs()
    assert not indexer.annotations(runs[1]).grown()

    def ids(**filters: str) -> tuple[str, ...]:
        with store.read() as session:
            return page(session, Search({key: frozenset({value}) for key, value in filters.items()}), 10).ids

    assert ids(label="teleports") == ("b/imagine/r-false",)
    assert ids(author="bob") == ("b/collect/e1",)
    assert ids(author="bob", label="teleports") == ()


@pytest.mark.fault
def test_a_store_that_cannot_be_written_loses_no_annotation(
    open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    spans = annotations(store, tmp_path / "a")

    def broken(wait: bool) -> None:
        raise StoreError("no room")

    monkeypatch.setattr(store, "write", broken)
    add(spans, put("e1"))  # acknowledged: it is in the log
    monkeypatch.undo()
    assert rows(store) == {}
    assert annotations(store, tmp_path / "a").follow() == 1
    assert sorted(rows(store)) == ["s"]


@pytest.mark.fault
@pytest.mark.timeout(60)
def test_nobody_waits_for_a_store_that_is_being_written(address: str, quick_disk: Path) -> None:
    """While somebody else commits, SQLite lets no one read either: the annotation is in the log all the same."""
    with Store.open(DatabaseConfig(address)) as store, Store.open(DatabaseConfig(address)) as other:
        spans = annotations(store, quick_disk / "a")
        with other.write() as session:
            if other.database.path is not None:
                session.connection().exec_driver_sql("ROLLBACK")
                session.connection().exec_driver_sql("BEGIN EXCLUSIVE")
            begun = time.monotonic()
            add(spans, put("e1"))
            waited = time.monotonic() - begun
        assert waited < 2.0
        assert [span.id for span in spans.spans("r")] == ["s"]
        assert rows(store) == {}
        assert spans.follow() == 1


def _annotate(address: str, run: Path, who: int, count: int, start: Any, result: Any) -> None:
    with Store.open(DatabaseConfig(address)) as store:
        spans = annotations(store, run)
        start.wait(60)
        waits = []
        for n in range(count):
            begun = time.monotonic()
            add(spans, put(f"e{who}-{n}", span=f"s{who}-{n}"), author=f"a{who}")
            waits.append(time.monotonic() - begun)
        result.put(max(waits))


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_eight_annotators_at_once(address: str, quick_disk: Path) -> None:
    """300 annotations each, into two runs: none locked out, none lost, nobody waits for 5 seconds."""
    workers, count, runs = 8, 300, [quick_disk / "a", quick_disk / "b"]
    with Store.open(DatabaseConfig(address)) as store:
        for run in runs:
            annotations(store, run)
    context = multiprocessing.get_context("fork")
    start, result = context.Event(), context.Queue()
    processes = [
        context.Process(target=_annotate, args=(address, runs[who % 2], who, count, start, result))
        for who in range(workers)
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(150)
    assert [process.exitcode for process in processes] == [0] * workers
    longest = max(result.get(timeout=5) for _ in processes)
    with Store.open(DatabaseConfig(address)) as store:
        for run in runs:
            annotations(store, run).follow()
    with Store.open(DatabaseConfig(address)) as store, store.read() as session:
        authors = dict(session.execute(select(Annotation.author, func.count()).group_by(Annotation.author)).all())
        assert store.check() == []
    assert authors == {f"a{who}": count for who in range(workers)}
    for run in runs:
        log = SpanLog(run / LOG_NAME)
        assert (len(log.events()), log.damaged) == (workers * count // 2, [])
    assert longest < 5.0


def _endless(address: str, run_id: int, run: Path, first: int, pipe: int) -> None:
    spans = RunAnnotations(Store(Database(DatabaseConfig(address))), run_id, run)
    os.write(pipe, b"ready\n")
    for n in range(first, first + 10_000):
        add_and_follow(spans, put(f"e{n}", span=f"s{n}"))
        os.write(pipe, f"{n}\n".encode())


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kill_9_of_a_writer_at_200_points(quick_disk: Path) -> None:
    """Each acknowledgement comes over a pipe; whatever came is there afterwards, in the log and in the store."""
    address, run = f"sqlite:///{quick_disk}/store.db", quick_disk / "a"
    run.mkdir()
    with Store.open(DatabaseConfig(address)) as store:
        run_id, _ = register(store, [run])[run]
    context = multiprocessing.get_context("fork")
    rng = random.Random(0)
    acknowledged: set[int] = set()
    for attempt in range(200):
        reading, writing = os.pipe()
        process = context.Process(target=_endless, args=(address, run_id, run, attempt * 10_000, writing))
        process.start()
        os.close(writing)
        with os.fdopen(reading) as lines:
            for expected in range(rng.randrange(4)):  # the moment is counted in its own steps, not in ours
                line = lines.readline()
                assert line.endswith("\n")
                acknowledged |= {int(line)} if expected else set()
            time.sleep(rng.uniform(0, 0.01))
            os.kill(process.pid or 0, signal.SIGKILL)
            acknowledged |= {int(line) for line in lines if line.endswith("\n") and line != "ready\n"}
        process.join(10)
    with Store.open(DatabaseConfig(address)) as store:
        assert store.check() == []
        spans = annotations(store, run)
        spans.follow()
        found = {int(span[1:]) for span in rows(store)}
        in_log = {int(event.span_id[1:]) for event in spans.log.events()}
    assert acknowledged <= found, "lost"
    assert found == in_log
    assert len(found - acknowledged) <= 200, "at most the one that each was at"
    assert len(acknowledged) > 100


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "tiny"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.fault
def test_a_full_disk_says_so_and_loses_nothing(tiny_disk: Path) -> None:
    config = DatabaseConfig(f"sqlite:///{tiny_disk}/store.db")
    with Store.open(config) as store:
        spans = annotations(store, tiny_disk / "a")
        desk = SpanDesk(spans, "r", 100)
        kept, refused = [], None
        for n in range(2000):
            answer = desk.handle({**put(f"e{n}", span=f"s{n}", note="x" * 1500), "rollout": "r"}, "ann")
            if not answer["ok"]:
                refused = answer
                break
            kept.append(f"s{n}")
        assert refused is not None
        assert refused["retry"], "the browser keeps it and sends it again"
        assert "No space left" in refused["error"]
        assert len(kept) > 50
        with pytest.raises(StoreError, match=r"disk.*MB free there\); nothing was lost: make room"):
            fill(store)
        assert store.check() == []
        log = SpanLog(tiny_disk / "a" / LOG_NAME)
        assert [event.span_id for event in log.events()] == kept
        assert log.damaged == []
    # With room again everything is taken in, and the refused edit too.
    subprocess.run(["mount", "-o", "remount,size=8m", tiny_disk], check=True)
    with Store.open(config) as store:
        spans = annotations(store, tiny_disk / "a")
        add_and_follow(spans, put(f"e{len(kept)}", span=f"s{len(kept)}"))
        assert sorted(rows(store)) == sorted([*kept, f"s{len(kept)}"])
        assert store.check() == []


def fill(store: Store) -> None:
    from sqlalchemy import insert

    from workbench.store.tables import JobRow

    for n in range(50):
        with store.write() as session:
            row = {"id": f"j{n}", "path": "x" * 60_000, "kind": "", "state": "", "made": 0.0, "stamp": "", "facts": {}}
            session.execute(insert(JobRow), [row])


@pytest.mark.fault
def test_a_log_that_is_no_file_is_named(sqlite_store: Store, tmp_path: Path) -> None:
    (tmp_path / "a" / LOG_NAME).mkdir(parents=True)
    with pytest.raises(CorruptFileError, match="cannot be read as a span log"):
        annotations(sqlite_store, tmp_path / "a")
