"""An annotator's session in Chromium against the app in its own process, which is killed under their hands."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from apps.bench.review import Loss, annotate, lost, made_up_run
from workbench.review.log import ReviewLog
from workbench.scrubber.span_log import LOG_NAME


@pytest.mark.browser
@pytest.mark.fault
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    """While a span is on its way; the item is handed in while nobody listens, and the page goes on by itself."""
    folder = made_up_run(tmp_path / "runs", 5, chunks=3, size=32)
    session = annotate(tmp_path, 4, kills=(1,))
    assert len(session.expected) == 4, "no item comes twice"
    assert len(session.outages) == 1
    assert lost(folder, session) == Loss(0, 0, 0)
    assert [line.op for line in ReviewLog(folder).lines()] == ["submit"] * 4


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    """The comparison of logs and keys sees a span that changed, an item that is gone, and one handed in twice."""
    from apps.bench.review import Session

    folder = made_up_run(tmp_path / "runs", 1, chunks=1, size=8)
    session = Session(expected={"made-up/imagine/made-0000": (1, 3, "teleports", 2)})
    assert lost(folder, session) == Loss(1, 1, 0)
    span = '{"id":"s","start":1,"end":3,"label":"teleports","severity":2,"note":""}'
    put = f'{{"event":"e","rollout":"made-0000","op":"put","span":{span},"author":"a","time":"t"}}\n'
    (folder / LOG_NAME).write_text(put)
    handed = '{"event":"%s","op":"submit","rollout":"made-0000","author":"%s","time":1.0,"seconds":1,"spans":[%s]}\n'
    (folder / "reviews.jsonl").write_text(handed % ("x", "a", span) + handed % ("y", "b", ""))
    assert lost(folder, session) == Loss(0, 0, 1)
    session.expected["made-up/imagine/made-0000"] = (1, 4, "teleports", 2)
    assert lost(folder, session) == Loss(1, 1, 1)
