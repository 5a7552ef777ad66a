from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workbench.scrubber.history import VersionConflictError
from workbench.scrubber.span_log import MemorySpans, SpanLog
from workbench.scrubber.spans import SpanError
from wovr_core.errors import CorruptFileError

N = 100


def _put(event: str, span: str = "s", start: int = 1, version: int = 1, **more: Any) -> dict[str, Any]:
    record = {"id": span, "start": start, "end": start + 5, "label": "other", "severity": 1, "note": ""} | more
    return {"event": event, "op": "put", "version": version, "span": record}


def _undo(event: str, target: str) -> dict[str, Any]:
    return {"event": event, "op": "undo", "target": target}


def _add(log: Any, message: dict[str, Any], rollout: str = "r", author: str = "ann") -> Any:
    return log.append(message, rollout=rollout, author=author, frames=N)


def test_another_reader_sees_what_was_kept(tmp_path: Path) -> None:
    log = SpanLog(tmp_path / "deep" / "annotations.jsonl")
    _add(log, _put("e1", note="ü 🤖"))
    _add(log, _put("e2", start=7, version=2))
    _add(log, _put("e3", span="t"), rollout="q", author="bob")
    again = SpanLog(log.path)
    (span,) = again.spans("r")
    assert (span.start, span.end, span.version, span.author) == (7, 12, 2, "ann")
    assert {name: [one.id for one in again.spans(name)] for name in again.rollouts()} == {"r": ["s"], "q": ["t"]}
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["e1", "e2", "e3"], "append only"


def test_undo_and_redo_are_events(tmp_path: Path) -> None:
    log = SpanLog(tmp_path / "log.jsonl")
    _add(log, _put("e1"))
    _add(log, _put("e2", start=50, version=2))
    _add(log, _undo("u2", "e2"))
    assert [(s.start, s.version) for s in log.spans("r")] == [(1, 3)]
    _add(log, _undo("u1", "e1"))
    assert log.spans("r") == []
    _add(log, _undo("r1", "u1"))
    _add(log, _undo("r2", "u2"))
    assert [(s.start, s.version) for s in SpanLog(log.path).spans("r")] == [(50, 6)]
    _add(log, {"event": "d", "op": "delete", "id": "s", "version": 7})
    assert log.spans("r") == []
    _add(log, _undo("ud", "d"))
    assert [s.start for s in log.spans("r")] == [50]


def test_undo_only_reaches_the_newest(tmp_path: Path) -> None:
    log = SpanLog(tmp_path / "log.jsonl")
    _add(log, _put("e1"))
    _add(log, _put("e2", version=2), author="bob")
    with pytest.raises(SpanError, match="somebody edited"):
        _add(log, _undo("u1", "e1"))
    _add(log, _undo("u2", "e2"))
    _add(log, _put("e3", start=9, version=4))
    with pytest.raises(SpanError, match="somebody edited"):
        _add(log, _undo("r2", "u2"))
    for target in ("nothing", "e2"):
        with pytest.raises(SpanError):
            _add(log, _undo("x", target))
    assert len(log.events()) == 4, "a refused edit leaves no line"


@pytest.mark.fault
def test_two_annotators_collide_visibly(tmp_path: Path) -> None:
    mine, theirs = SpanLog(tmp_path / "log.jsonl"), SpanLog(tmp_path / "log.jsonl")
    _add(mine, _put("e1"))
    _add(theirs, _put("e2", start=20, version=2), author="bob")
    with pytest.raises(VersionConflictError, match="version 2"):
        _add(mine, _put("e3", start=30, version=2))
    assert [s.author for s in mine.spans("r")] == ["bob"]


def test_sending_twice_does_no_harm(tmp_path: Path) -> None:
    log = SpanLog(tmp_path / "log.jsonl")
    assert _add(log, _put("e1")) == _add(log, _put("e1")) == _add(SpanLog(log.path), _put("e1"))
    assert len(log.path.read_text().splitlines()) == 1


@pytest.mark.fault
@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_costs_that_line_only(tmp_path: Path, cut: int) -> None:
    log = SpanLog(tmp_path / "log.jsonl")
    _add(log, _put("e1"))
    _add(log, _put("e2", span="t"))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-cut])
    after = SpanLog(log.path)
    assert [s.id for s in after.spans("r")] == ["s"], "an unfinished line was never acknowledged"
    _add(after, _put("e3", span="v"))
    kept = ["s", "t", "v"] if cut == 1 else ["s", "v"]  # only the line's end was missing
    for reader in (after, SpanLog(log.path)):
        assert [s.id for s in reader.spans("r")] == kept
        assert reader.damaged == ([] if cut == 1 else [2])


@pytest.mark.fault
def test_foreign_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = SpanLog(path)
    _add(log, _put("e1"))
    with path.open("ab") as file:
        file.write(
            b'\xff\xfe\n[]\n{"event":"x","rollout":"r","op":"undo","target":"no","author":"a","time":"t"}\n'
            + b"[" * 5000
            + b"\n"
        )
    _add(log, _put("e2", span="t"))
    reader = SpanLog(path)
    assert [s.id for s in reader.spans("r")] == ["s", "t"]
    assert reader.damaged == [2, 3, 4, 5]


def test_a_log_that_shrinks_or_is_no_file_is_named(tmp_path: Path) -> None:
    log = SpanLog(tmp_path / "log.jsonl")
    _add(log, _put("e1"))
    log.path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match="became shorter"):
        log.spans("r")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        SpanLog(tmp_path)


def _write(path: str, who: int, count: int) -> None:
    log = SpanLog(path)
    for k in range(count):
        _add(log, _put(f"e{who}-{k}", span=f"s{who}-{k}", note="x" * 300), author=f"a{who}")


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    path = str(tmp_path / "log.jsonl")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(path, who, 25)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    log = SpanLog(path)
    assert len(log.spans("r")) == 75
    assert log.damaged == []


class UndoMachine(RuleBasedStateMachine):
    """One annotator edits, undoes and redoes at random; a stack of plain snapshots is the independent truth."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemorySpans()
        self.now: dict[str, int] = {}
        self.done: list[tuple[str, dict[str, int]]] = []
        self.undone: list[tuple[str, str, dict[str, int]]] = []
        self.serial = 0

    def _event(self) -> str:
        self.serial += 1
        return f"e{self.serial}"

    @rule(span=st.sampled_from("abc"), start=st.integers(0, 90))
    def put(self, span: str, start: int) -> None:
        event, before = self._event(), dict(self.now)
        _add(self.store, _put(event, span, start, self.store.version("r", span) + 1))
        self.now[span] = start
        self.done.append((event, before))
        self.undone.clear()

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        span = data.draw(st.sampled_from(sorted(self.now)))
        event, before = self._event(), dict(self.now)
        _add(self.store, {"event": event, "op": "delete", "id": span, "version": self.store.version("r", span) + 1})
        del self.now[span]
        self.done.append((event, before))
        self.undone.clear()

    @precondition(lambda self: self.done)
    @rule()
    def undo(self) -> None:
        event, before = self.done.pop()
        back = self._event()
        _add(self.store, _undo(back, event))
        self.undone.append((event, back, self.now))
        self.now = dict(before)

    @precondition(lambda self: self.undone)
    @rule()
    def redo(self) -> None:
        event, back, after = self.undone.pop()
        _add(self.store, _undo(self._event(), back))
        self.done.append((event, self.now))
        self.now = dict(after)

    @invariant()
    def same(self) -> None:
        assert {span.id: span.start for span in self.store.spans("r")} == self.now


TestUndo = UndoMachine.TestCase
TestUndo.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
