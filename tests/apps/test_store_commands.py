"""`wovr store`, as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.cli import main
from workbench.scrubber.span_log import LOG_NAME, SpanLog


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Path]) -> Path:
    """A WOVR_HOME with one run that carries one annotation."""
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.delenv("WOVR_DATABASE_URL", raising=False)
    run = make_run(tmp_path / "runs", "a")
    body = {"id": "s", "start": 1, "end": 3, "label": "teleports", "severity": 2, "note": "=x"}
    edit = {"event": "e", "op": "put", "version": 1, "span": body}
    SpanLog(run / LOG_NAME).append(edit, rollout="r-false", author="ann", frames=33)
    return tmp_path


def test_rebuild_status_and_a_corrupt_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "rebuild"]) == 0
    assert "1 runs, 8 files (8 read, 0 gone)" in capsys.readouterr().out
    assert main(["store", "rebuild", "--verify"]) == 0
    assert "8 files (0 read" in capsys.readouterr().out
    assert main(["store", "status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["counts"]["annotations"], status["counts"]["audits"], status["damage"]) == (1, 4, [])
    (home / "runs" / "a" / "collect" / "episodes" / "e0.safetensors").write_bytes(b"")
    assert main(["store", "rebuild", "--fresh"]) == 1
    assert "skipped: a/collect/e0: e0.safetensors cannot be read" in capsys.readouterr().out
    assert (home / "store.db.old").exists()
    assert main(["store", "status"]) == 0
    assert "cannot be read: a/collect/e0" in capsys.readouterr().out


def test_annotations_go_out_and_come_back(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for kind, name in (("csv", "x.csv"), ("jsonl", "x.jsonl"), ("label-studio", "x.json")):
        assert main(["store", "export", kind, "--out", str(tmp_path / name)]) == 0
        assert main(["store", "import", str(tmp_path / name)]) == 0
        assert "0 added, 1 were in already, 0 conflicts" in capsys.readouterr().out
    assert '"\'=x"' in (tmp_path / "x.csv").read_text()
    (home / "runs" / "a" / LOG_NAME).unlink()
    assert main(["store", "import", str(tmp_path / "x.jsonl")]) == 0
    (span,) = SpanLog(home / "runs" / "a" / LOG_NAME).spans("r-false")
    assert (span.author, span.note, span.label) == ("ann", "=x", "teleports")
    assert main(["store", "guideline", "--out", str(tmp_path / "g.html")]) == 0
    assert "data:image/png" in (tmp_path / "g.html").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["export", "cvs"], "did you mean 'csv'"),
        (["export", "csv", "--run", "zzz"], "no run 'zzz'; it has a"),
        (["import", "none.csv"], "none.csv cannot be read"),
        (["import", "none.txt"], "say which --format"),
        (["rebuild", "/nonexistent"], "there is no run at /nonexistent"),
    ],
)
def test_mistakes_are_explained(home: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    assert main(["store", *words]) == 2
    assert why in capsys.readouterr().err
