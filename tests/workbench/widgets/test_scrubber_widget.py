"""The widget's Python side, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from workbench.scrubber import MODULE_PATH
from workbench.scrubber.span_log import SpanLog
from workbench.side_by_side import side_by_side
from workbench.widgets import Scrubber
from wovr_core.types import Episode, Rollout


def _edit(event: str, rollout: str, **span: Any) -> dict[str, Any]:
    record = {"id": "s", "start": 1, "end": 3, "label": "other", "severity": 1, "note": ""} | span
    return {"kind": "edit", "event": event, "rollout": rollout, "op": "put", "version": 1, "span": record}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    monkeypatch.setattr(Scrubber, "send", lambda self, content, buffers=None: out.append(content))
    return out


def _arrive(widget: Scrubber, message: object) -> None:
    widget._handle_custom_msg(message, [])


def test_it_carries_the_module_unchanged(make_rollout: Callable[..., Rollout]) -> None:
    assert str(Scrubber(make_rollout())._esm) == MODULE_PATH.read_text(encoding="utf-8")


def test_edits_are_answered_kept_and_shown(
    make_rollout: Callable[..., Rollout],
    make_episode: Callable[..., Episode],
    tmp_path: Path,
    sent: list[dict[str, Any]],
) -> None:
    log = tmp_path / "annotations.jsonl"
    widget = Scrubber(make_rollout("r0"), make_episode(), log=log, author="ann")
    _arrive(widget, _edit("e1", "r0"))
    assert (sent[-1]["ok"], sent[-1]["event"]) == (True, "e1")
    assert widget.spans == sent[-1]["spans"] == [span.to_json() for span in widget.annotations]
    assert [span.author for span in SpanLog(log).spans("r0")] == ["ann"]
    assert Scrubber(make_rollout("r0"), log=log).spans == widget.spans
    _arrive(widget, _edit("e2", "r0", id="bad", end=33))
    assert not sent[-1]["ok"]
    assert "< 33" in sent[-1]["error"]
    for nonsense in (None, 3, [], {}, {"kind": "edit"}, {"kind": 5}, {"kind": "edit", "span": 7}):
        _arrive(widget, nonsense)
    assert len(widget.annotations) == 1


def test_showing_another_rollout(make_rollout: Callable[..., Rollout], sent: list[dict[str, Any]]) -> None:
    widget = Scrubber(make_rollout("r0"))
    _arrive(widget, _edit("e1", "r0"))
    widget.show(make_rollout("r1", chunks=2))
    assert (widget.meta["id"], widget.meta["frames"], widget.spans) == ("r1", 17, [])
    _arrive(widget, _edit("e2", "r0", id="late"))
    assert "another rollout" in sent[-1]["error"]
    widget.show(make_rollout("r0"))
    assert [span["id"] for span in widget.spans] == ["s"]


def test_callbacks_hear_branch_and_navigate(
    make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    widget = Scrubber(make_rollout("r0"))
    heard: list[Any] = []
    assert not widget.meta["can_branch"]
    widget.on_branch(heard.append)
    widget.on_navigate(heard.append)
    assert widget.meta["can_branch"]
    _arrive(widget, {"kind": "branch", "rollout": "r0", "frame": 4})
    _arrive(widget, {"kind": "navigate", "rollout": "r0", "step": 1})
    assert [message["kind"] for message in heard] == ["branch", "navigate"]
    widget.show(make_episode())
    assert (widget.meta["id"], widget.meta["can_branch"]) == ("e0", True)


def test_what_is_open_for_reading_only_takes_no_spans(
    make_rollout: Callable[..., Rollout], sent: list[dict[str, Any]]
) -> None:
    both = side_by_side(make_rollout("r0"), make_rollout("r1"), id="both", titles=("first", "second"))
    widget = Scrubber(both)
    _arrive(widget, _edit("e1", both.id))
    assert "reading only" in sent[-1]["error"]
    assert widget.annotations == []
