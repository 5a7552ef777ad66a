"""The chain of records: what is written stays, and whatever is done to it is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wovr_core.robots.evaluation.records import RecordLog, TamperedError


@pytest.fixture
def log(tmp_path: Path) -> RecordLog:
    log = RecordLog(tmp_path / "records.jsonl", "anchor", now=lambda: 12.5)
    for trial in (1, 2, 3):
        log.append("begin", {"trial": trial, "note": 'ü "quoted"\nline'})
    return log


def test_records_read_back_as_written_and_each_follows_the_one_before(log: RecordLog) -> None:
    records = log.read()
    assert [r.body["trial"] for r in records] == [1, 2, 3]
    assert [r.previous for r in records] == ["anchor", records[0].digest, records[1].digest]
    assert log.head() == records[2].digest
    assert len({r.digest for r in records}) == 3


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_is_found(log: RecordLog, line: int) -> None:
    lines = log.path.read_text().splitlines()
    value = json.loads(lines[line])
    value["body"]["trial"] = 9
    lines[line] = json.dumps(value)
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TamperedError, match=f"line {line + 1}"):
        log.read()
    with pytest.raises(TamperedError):
        log.append("begin", {"trial": 4})


def test_a_removed_an_added_and_a_swapped_line_are_found(log: RecordLog) -> None:
    lines = log.path.read_text().splitlines()
    for changed in ([lines[1], lines[2]], [lines[0], lines[2]], [lines[0], *lines], [lines[1], lines[0], lines[2]]):
        log.path.write_text("\n".join(changed) + "\n")
        with pytest.raises(TamperedError):
            log.read()


def test_another_plan_breaks_the_chain(log: RecordLog) -> None:
    with pytest.raises(TamperedError, match="line 1"):
        RecordLog(log.path, "another anchor").read()


@pytest.mark.fault
@pytest.mark.parametrize("torn", [b'{"num', b'{"number":4,"kind":"begin"}', b"\xff\xfe"])
def test_a_line_cut_short_by_a_crash_is_passed_over_and_then_written_over(log: RecordLog, torn: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(torn)
    assert len(log.read()) == 3
    log.append("begin", {"trial": 4})
    assert [r.body["trial"] for r in log.read()] == [1, 2, 3, 4]


def test_a_check_prevents_the_record(log: RecordLog) -> None:
    def refuse(records: list[object]) -> None:
        raise ValueError(f"{len(records)} are enough")

    with pytest.raises(ValueError, match="3 are enough"):
        log.append("begin", {"trial": 4}, refuse)
    assert len(log.read()) == 3
