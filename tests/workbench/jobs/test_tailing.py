"""Files read while they are written: nothing twice, nothing lost, nothing half."""

import json
import random

from workbench.jobs.tailing import last_lines, read_log, read_metrics_since


def test_any_cut_of_the_bytes_gives_the_same_text(tmp_path):
    text = "aé漢🙂\n" * 50
    data, log = text.encode(), tmp_path / "log"
    draw = random.Random(0)
    for _ in range(20):
        written, offset, seen = 0, 0, ""
        log.write_bytes(b"")
        while written < len(data) or offset < len(data):
            written = min(len(data), written + draw.randrange(0, 40))
            log.write_bytes(data[:written])
            chunk = read_log(log, offset, limit=draw.randrange(1, 30))
            offset, seen = chunk.next_offset, seen + chunk.text
        assert seen == text


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path):
    (tmp_path / "log").write_bytes(b"a\xff\xfeb\n")
    assert read_log(tmp_path / "log").text == "a\ufffd\ufffdb\n"


def test_a_truncated_log_is_read_anew(tmp_path):
    log = tmp_path / "log"
    log.write_text("something long")
    offset = read_log(log).next_offset
    log.write_text("new")
    chunk = read_log(log, offset)
    assert (chunk.text, chunk.next_offset, chunk.restarted) == ("new", 3, True)
    log.unlink()
    assert read_log(log, 3).restarted
    assert read_log(log, 0).text == ""


def test_the_last_lines_are_whole(tmp_path):
    log = tmp_path / "log"
    assert last_lines(log, 3) == []
    log.write_text("".join(f"line {i}\n" for i in range(1000)))
    assert last_lines(log, 2) == ["line 998", "line 999"]
    assert all(line.startswith("line ") for line in last_lines(log, 1000, within=100))


def test_torn_lines_of_metrics_wait_or_are_passed_over(tmp_path):
    path = tmp_path / "rl" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text('{"step": 1}\n{"st')
    first = read_metrics_since(tmp_path)
    assert first.lines == ({"stage": "rl", "step": 1},)
    path.write_text('{"step": 1}\n{"step": 2}\nnonsense\n[3]\n')
    second = read_metrics_since(tmp_path, first.cursor)
    assert second.lines == ({"stage": "rl", "step": 2},)
    assert read_metrics_since(tmp_path, second.cursor).lines == ()


def test_a_stage_that_resumes_starts_its_metrics_anew(tmp_path):
    """As `StageFolder.drop_metrics_from` does: another file takes the name, perhaps a longer one."""
    path = tmp_path / "rl" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text('{"step": 1}\n{"step": 2}\n')
    cursor = json.loads(json.dumps(read_metrics_since(tmp_path).cursor))
    other = path.with_suffix(".tmp")
    other.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    other.replace(path)
    chunk = read_metrics_since(tmp_path, cursor)
    assert [line["step"] for line in chunk.lines] == [1, 2, 3]
    assert chunk.restarted == ("rl",)
