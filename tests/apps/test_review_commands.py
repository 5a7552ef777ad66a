"""`wovr review`, as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.cli import main
from workbench.review.queue import ReviewQueue
from workbench.store.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Path]) -> Path:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.delenv("WOVR_DATABASE_URL", raising=False)
    make_run(tmp_path / "runs", "a")
    return tmp_path


def test_queue_evidence_and_stats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", "stats"]) == 0
    assert "nobody has handed in anything yet" in capsys.readouterr().out
    assert main(["review", "queue", "--limit", "2"]) == 0
    out = capsys.readouterr().out
    assert "a/imagine/r-false\n       imagined success, real failure; leaves reality at frame 20" in out
    assert "6 open (0 in somebody's hands), 0 done" in out
    assert main(["review", "evidence", "a/imagine/r-false"]) == 0
    out = capsys.readouterr().out
    assert "first          20 (first frame whose mean absolute" in out
    assert "not known      object error: its run has no position probe" in out
    assert main(["review", "evidence", "a/rl/rl-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"]["divergence"].startswith("the recorded episode")
    with Store.open() as store:
        queue = ReviewQueue(store)
        claim = queue.claim("ann")
        assert claim is not None
        queue.submit(claim, [])
    assert main(["review", "stats"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("ann ")
    assert main(["review", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["annotators"][0]["items"] == 1
    assert main(["review", "queue", "--annotator", "ann", "--json"]) == 0
    assert claim.id not in {item["id"] for item in json.loads(capsys.readouterr().out)["items"]}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["queue", "--limit", "0"], "at least 1"),
        (["queue", "--run", "b"], "no run 'b'"),
        (["evidence", "a/imagine/none"], "no rollout"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert main(["review", *words]) == 2
    assert why in capsys.readouterr().err
