"""Annotations out and in: nothing lost, nothing twice, nothing overwritten, no formula executed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.scrubber.spans import LABELS, MAX_NOTE
from workbench.store import formats
from workbench.store.exchange import export_events, export_spans, import_events, import_spans
from workbench.store.formats import ExchangeError, SpanRow
from workbench.store.indexer import Indexer
from workbench.store.store import Store

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *(chr(ord(sign) + 0xFEE0) for sign in "=+-@"))
"""What a spreadsheet takes for the beginning of a formula, full-width signs among it."""
TABLES = {
    "csv": (formats.to_csv, formats.from_csv),
    "label-studio": (formats.to_label_studio, formats.from_label_studio),
}
ALLOWED = st.characters(
    blacklist_categories=["Cs"], blacklist_characters=[chr(c) for c in (*range(9), 11, 12, *range(14, 32), 127)]
)
TEXTS = st.text(ALLOWED, max_size=30) | st.sampled_from(
    ["=1+1", "'=1", "''", "@x", "+1", "-1", "\t=1", "\uff1d1+1", "'\uff0b1", 'a,b\n"c"', "\r\n"]
)
ROWS = st.builds(
    SpanRow,
    run=st.text(st.characters(whitelist_categories=["Ll", "Nd"]), min_size=1, max_size=8),
    rollout=TEXTS.filter(bool),
    span=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    first=st.integers(0, 500),
    last=st.integers(0, 500),
    label=st.sampled_from([label.key for label in LABELS]),
    severity=st.integers(1, 3),
    note=TEXTS,
    author=TEXTS,
    time=st.just("2026-11-23T10:00:00.000+00:00"),
    version=st.integers(0, 9),
)


@given(st.lists(ROWS, max_size=5))
@settings(max_examples=150, deadline=None)
def test_csv_comes_back_as_it_went_and_holds_no_formula(rows: list[SpanRow]) -> None:
    text = formats.to_csv(rows)
    assert formats.from_csv(text) == rows
    for cells in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not any(cell.startswith(STARTS) for cell in cells)


@given(st.lists(ROWS, max_size=5, unique_by=lambda row: (row.run, row.rollout, row.span)))
@settings(max_examples=100, deadline=None)
def test_label_studio_comes_back_as_it_went(rows: list[SpanRow]) -> None:
    order = {(row.run, row.rollout): n for n, row in reversed(list(enumerate(rows)))}
    expected = sorted(rows, key=lambda row: order[row.run, row.rollout])
    assert formats.from_label_studio(formats.to_label_studio(rows)) == expected


def test_label_studio_counts_frames_from_one() -> None:
    row = SpanRow("a", "r", "s", 0, 4, "teleports", 2, "n", "ann", "2026-11-23T10:00:00+00:00", 1)
    (task,) = json.loads(formats.to_label_studio([row]))
    value = task["annotations"][0]["result"][0]["value"]
    assert value == {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["teleports"]}
    for label in LABELS:
        assert f'alias="{label.key}"' in formats.labeling_config()


@pytest.fixture
def annotated(store: Store, make_run: Callable[..., Path], tmp_path: Path) -> tuple[Indexer, Path, Path]:
    """Two runs of the same rollouts; three spans on the first, of which one was edited, one deleted and put back."""
    runs = make_run(tmp_path, "a"), make_run(tmp_path, "b")
    indexer = Indexer(store)
    indexer.update(runs)
    spans = indexer.annotations(runs[0])

    def do(event: str, op: str, author: str = "ann", **rest: Any) -> None:
        spans.append({"event": event, "op": op, **rest}, rollout="r-false", author=author, frames=33)

    def body(span: str, **more: Any) -> dict[str, Any]:
        return {"id": span, "start": 2, "end": 9, "label": "other", "severity": 1, "note": ""} | more

    do("e1", "put", version=1, span=body("s1"))
    do("e2", "put", version=2, span=body("s1", note="=HYPERLINK(1)", severity=3), author="bob")
    do("e3", "put", version=1, span=body("s2", label="teleports"))
    do("e4", "delete", version=2, id="s2")
    do("e5", "undo", target="e4")
    do("e6", "put", version=1, span=body("s3", start=20, end=32))
    spans.follow()
    return indexer, *runs


Annotated = tuple[Indexer, Path, Path]


def history(run: Path) -> list[str]:
    return [event.id for event in SpanLog(run / LOG_NAME).events()]


def test_a_history_goes_to_another_run_whole_and_only_once(annotated: Annotated) -> None:
    indexer, a, b = annotated
    lines = "".join(formats.to_json_lines(export_events(indexer.store, ["a"])))
    events = formats.from_json_lines(lines)
    report = import_events(indexer, events, "b")
    assert (report.added, report.unchanged, report.conflicts, report.problems) == (6, 0, [], [])
    assert history(b) == history(a)
    assert SpanLog(b / LOG_NAME).spans("r-false") == SpanLog(a / LOG_NAME).spans("r-false"), "authors and times too"
    again = import_events(indexer, events, "b")
    assert (again.added, again.unchanged) == (0, 6)
    own = (a / LOG_NAME).read_text()
    assert import_events(indexer, formats.from_json_lines(own), "b").added == 0, "a run's own log is read as well"
    assert [row.run for row in export_spans(indexer.store)] == ["a"] * 3 + ["b"] * 3


def test_an_export_that_is_read_slowly_holds_up_no_writer(annotated: Annotated) -> None:
    store = annotated[0].store
    for export in (export_spans, export_events):
        slow = export(store)
        next(slow)
        assert store.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        with store.write():
            pass
        assert list(slow)


@pytest.mark.fault
def test_histories_that_went_apart_are_a_conflict_span_by_span(annotated: Annotated) -> None:
    indexer, _, b = annotated
    events = formats.from_json_lines("".join(formats.to_json_lines(export_events(indexer.store, ["a"]))))
    import_events(indexer, events[:1], "b")
    body = {"id": "s1", "start": 0, "end": 1, "label": "other", "severity": 1, "note": "b's own"}
    edit = {"event": "x", "op": "put", "version": 2, "span": body}
    indexer.annotations(b).append(edit, rollout="r-false", author="cat", frames=33)
    report = import_events(indexer, events, "b")
    assert report.added == 4
    assert len(report.conflicts) == 1
    assert "s1" in report.conflicts[0]
    spans = {span.id: span.note for span in SpanLog(b / LOG_NAME).spans("r-false")}
    assert spans == {"s1": "b's own", "s2": "", "s3": ""}


@pytest.mark.parametrize("kind", ["csv", "label-studio"])
@pytest.mark.parametrize("lost", ["never there", "log lost"])
def test_a_table_makes_the_same_annotations_where_there_are_none(annotated: Annotated, kind: str, lost: str) -> None:
    indexer, a, b = annotated
    write, read = TABLES[kind]
    rows = list(export_spans(indexer.store, ["a"]))
    target = b
    if lost == "log lost":
        (a / LOG_NAME).unlink()
        target, indexer = a, Indexer(indexer.store)
    report = import_spans(indexer, read(write(rows)), "eve", target.name)
    assert (report.added, report.unchanged, report.conflicts, report.problems) == (3, 0, [], [])
    again = list(export_spans(indexer.store, [target.name]))
    same = [replace(row, run=target.name, version=1) for row in rows]  # a table holds no history: it begins here
    assert again == same
    assert import_spans(indexer, read(write(again)), "eve").unchanged == 3


@pytest.mark.parametrize("kind", ["csv", "label-studio"])
def test_a_table_edited_elsewhere_comes_back_as_edits(annotated: Annotated, kind: str) -> None:
    indexer, a, _ = annotated
    write, read = TABLES[kind]
    rows = read(write(export_spans(indexer.store, ["a"])))
    assert import_spans(indexer, rows, "eve").unchanged == 3
    changed = [replace(row, note="seen again") if row.span == "s2" else row for row in rows]
    new = replace(rows[0], span="", first=0, last=0, label="teleports", author="fay", version=0)
    sent = [*changed, new] if kind == "csv" else changed
    first = import_spans(indexer, sent, "eve")
    assert (first.added, first.conflicts, first.problems) == (len(sent) - 2, [], [])
    spans = {span.id: span for span in indexer.annotations(a).spans("r-false")}
    assert (spans["s2"].note, spans["s2"].author, spans["s2"].version) == ("seen again", "eve", 4)
    assert (spans["s1"].note, spans["s1"].author) == ("=HYPERLINK(1)", "bob")
    assert import_spans(indexer, sent, "eve").added == 0, "importing twice changes nothing"
    if kind == "csv":
        assert [span.author for span in spans.values() if span.label == "teleports" and span.id != "s2"] == ["fay"]


@pytest.mark.fault
def test_an_edit_of_an_old_version_is_a_conflict(annotated: Annotated) -> None:
    indexer, a, _ = annotated
    rows = list(export_spans(indexer.store, ["a"]))
    body = {"id": "s3", "start": 1, "end": 2, "label": "other", "severity": 1, "note": "meanwhile"}
    edit = {"event": "x", "op": "put", "version": 2, "span": body}
    indexer.annotations(a).append(edit, rollout="r-false", author="cat", frames=33)
    report = import_spans(indexer, [replace(row, note="late") for row in rows if row.span == "s3"], "eve")
    assert report.added == 0
    assert "made on version 1, it is at version 2, by cat" in report.conflicts[0]
    assert {span.id: span.note for span in indexer.annotations(a).spans("r-false")}["s3"] == "meanwhile"


@pytest.mark.security
def test_rows_that_cannot_be_accepted_are_named_and_the_others_taken(annotated: Annotated) -> None:
    indexer, a, _ = annotated
    good = SpanRow("a", "r-true", "", 1, 2, "other", 1, "", "ann", "", 0)
    bad = {
        "no such rollout": replace(good, rollout="../../etc/passwd"),
        "0 <= start <= end < 33": replace(good, last=33),
        "unknown label": replace(good, label="nonsense"),
        "severity": replace(good, severity=7),
        "2000 characters": replace(good, note="x" * (MAX_NOTE + 1)),
        "author": replace(good, author="a\x00b"),
        "span's id": replace(good, span="../x"),
        "no run 'zzz'": replace(good, run="zzz"),
    }
    report = import_spans(indexer, [good, *bad.values()], "eve")
    assert report.added == 1
    assert len(report.problems) == len(bad)
    for why in bad:
        assert any(why in problem for problem in report.problems), (why, report.problems)
    assert [span.start for span in indexer.annotations(a).spans("r-true")] == [1]


@pytest.mark.parametrize(
    ("read", "text", "why"),
    [
        (formats.from_csv, "run,rollout\na,b\n", "lacks the columns first, last, label"),
        (formats.from_csv, "run,rollout,first,last,label\na,b,x,2,other\n", "line 2: first must be a whole number"),
        (formats.from_csv, 'run,rollout,first,last,label\n"a,b\n', "line"),
        (formats.from_csv, "run,rollout,first,last,label\na,b,1\n", "line 2: there is no last"),
        (formats.from_json_lines, '{"run": "a"}\n{', "line 2 is not JSON"),
        (formats.from_json_lines, "[" * 100_000, "line 1 is not JSON"),
        (formats.from_json_lines, "[]", "line 1 holds no event"),
        (formats.from_label_studio, "{}", "a list of tasks"),
        (formats.from_label_studio, '[{"data": {}}]', "task 1 does not say"),
        (formats.from_label_studio, "[3]", "task 1 has no data"),
    ],
)
def test_files_that_are_none_are_refused_with_the_place(read: Callable[[str], object], text: str, why: str) -> None:
    with pytest.raises(ExchangeError, match=why):
        read(text)
