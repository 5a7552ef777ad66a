"""metrics.jsonl as records: torn, corrupt and rewritten files."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.tracking.records import LineError, MetricsTail, parse_line
from wovr_core.stages.folder import StageFolder


@dataclass(frozen=True)
class Config:
    steps: int = 9


def line(step: int, phase: str = "", **values: float | None) -> bytes:
    return json.dumps({"phase": phase, "step": step, **values, "seconds": 1.5}).encode() + b"\n"


def steps(records) -> list[tuple[str, int]]:
    return [(r.phase, r.step) for r in records]


def test_a_record_holds_what_the_line_says():
    record = parse_line(b'{"phase": "ae", "step": 3, "loss": 0.5, "lost": null, "seconds": 2}')
    assert (record.phase, record.step, record.seconds) == ("ae", 3, 2.0)
    assert record.named()["ae/loss"] == 0.5
    assert math.isnan(record.named()["ae/lost"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"step": 1, "loss": 0.', "not JSON"),
        (b"[1, 2]", "object is wanted, found list"),
        (b'{"loss": 1.0}', "step = None"),
        (b'{"step": true}', "step = True"),
        (b'{"step": -1}', "step = -1"),
        (b'{"step": 1, "phase": 4}', "phase = 4"),
        (b'{"step": 1, "loss": "low"}', "loss = 'low'"),
        (b"\xff\xfe{}", "not JSON"),
    ],
)
def test_what_is_no_record_says_why(text, reason):
    with pytest.raises(LineError, match=reason.replace("(", r"\(")):
        parse_line(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_line_error(data):
    with suppress(LineError):
        assert parse_line(data).step >= 0


def test_a_torn_last_line_waits_until_it_is_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert tail.poll() == []  # there is no file yet
    whole = line(2, loss=1.0)
    path.write_bytes(line(1, loss=1.0) + whole[:11])
    assert steps(tail.poll()) == [("", 1)]
    assert tail.poll() == []
    path.write_bytes(line(1, loss=1.0) + whole)
    assert steps(tail.poll()) == [("", 2)]
    assert tail.corrupt == []


def test_corrupt_lines_are_reported_and_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1) + b'{"phase": "", "st' + line(2) + line(3))
    tail = MetricsTail(path)
    assert steps(tail.poll()) == [("", 1), ("", 3)]
    assert [c.number for c in tail.corrupt] == [2]
    assert "metrics.jsonl line 2: not JSON" in str(tail.corrupt[0])


def test_each_step_comes_once_though_a_resumed_stage_writes_it_again(tmp_path):
    folder = StageFolder(tmp_path, "train", Config(), {})
    tail = MetricsTail(tmp_path / "metrics.jsonl")
    seen = []
    for step in range(1, 8):
        folder.log(step, {"loss": 1 / step}, "training")
        seen += tail.poll()
    folder.drop_metrics_from(4, "training")  # the checkpoint was at step 3
    seen += tail.poll()
    for step in range(4, 10):
        folder.log(step, {"loss": 1 / step}, "training")
        seen += tail.poll()
    folder.log(9, {"psnr": 20.0}, "quality")
    folder.log(9, {"auroc": 0.9}, "quality")  # a second line of one step is another record
    seen += tail.poll()
    assert steps(seen) == [("training", s) for s in range(1, 10)] + [("quality", 9)] * 2
    assert [next(iter(r.values)) for r in seen[-2:]] == ["psnr", "auroc"]


def test_a_file_rewritten_between_polls_is_noticed_though_it_grew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(line(s, loss=0.1) for s in range(1, 6)))
    tail = MetricsTail(path)
    tail.poll()
    path.write_bytes(b"".join(line(s, loss=0.25) for s in range(1, 9)))  # longer lines, longer file
    assert steps(tail.poll()) == [("", 6), ("", 7), ("", 8)]
    assert tail.corrupt == []


def test_a_tail_goes_on_from_the_progress_of_another(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1) + line(2, "b") + line(2, "b"))
    first = MetricsTail(path)
    assert len(first.poll()) == 3
    with path.open("ab") as file:
        file.write(line(2, "b") + line(2))
    assert steps(MetricsTail(path, progress=dict(first.progress)).poll()) == [("b", 2), ("", 2)]
