"""The gallery's Python side: pages with their pictures, filters, and the scrubber that a click opens."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from PIL import Image

from workbench.catalogue.query import QueryError
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.widgets import Gallery
from workbench.widgets.gallery import GalleryView
from wovr_core.errors import WovrError


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], Any]]:
    out: list[tuple[dict[str, Any], Any]] = []
    monkeypatch.setattr(GalleryView, "send", lambda self, content, buffers=None: out.append((content, buffers)))
    return out


def test_a_page_comes_with_its_pictures(
    make_run: Callable[..., Path], tmp_path: Path, sent: list[tuple[dict[str, Any], Any]]
) -> None:
    make_run(tmp_path / "runs", "a")
    gallery = Gallery(tmp_path / "runs")
    gallery.view._handle_custom_msg({"kind": "ask", "id": "q1", "query": gallery.view.query}, [])
    (content, pictures) = sent[-1]
    assert (content["kind"], content["id"], content["answer"]["total"]) == ("answer", "q1", 8)
    cards = content["answer"]["cards"]
    assert cards[0]["id"] == "a/imagine/r-false"
    assert sorted(card["buffer"] for card in cards) == list(range(8))
    sizes = [Image.open(io.BytesIO(bytes(picture))).size for picture in pictures]
    assert all(width > 300 for width, _ in sizes)
    assert sizes[cards[0]["buffer"]][1] > sizes[cards[-1]["buffer"]][1], "real over imagined: two rows"


def test_filters_are_the_apps_and_checked(make_run: Callable[..., Path], tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a")
    make_run(tmp_path / "runs", "b")
    gallery = Gallery(tmp_path / "runs", run="b", verdict=["false_success", "true_success"])
    answer, _ = gallery.view.page(gallery.view.query)
    assert {card["id"] for card in answer["cards"]} == {"b/imagine/r-false", "b/imagine/r-true"}
    with pytest.raises(QueryError, match="filters must be"):
        Gallery(tmp_path / "runs", verdit="false_success")
    assert "order" in gallery.view.page({"order": "nonsense"})[0]["error"]
    assert gallery.view.page([1])[0]["error"]


def test_a_click_opens_the_scrubber_over_the_runs_own_log(
    make_run: Callable[..., Path], tmp_path: Path, sent: list[tuple[dict[str, Any], Any]]
) -> None:
    run = make_run(tmp_path / "runs", "a")
    gallery = Gallery(tmp_path / "runs", author="nb")
    assert gallery.children == (gallery.view,)
    gallery.view._handle_custom_msg({"kind": "open", "id": "a/imagine/r-false"}, [])
    first = gallery.scrubber
    assert first is not None
    assert gallery.children == (gallery.view, first)
    assert gallery.view.opened == first.meta["id"] == "a/imagine/r-false"
    span = {"id": "s", "start": 1, "end": 3, "label": "other", "severity": 1, "note": ""}
    edit = {"kind": "edit", "event": "e1", "rollout": "a/imagine/r-false", "op": "put", "version": 1, "span": span}
    first._handle_custom_msg(edit, [])
    assert [(s.author, s.end) for s in SpanLog(run / LOG_NAME).spans("r-false")] == [("nb", 3)]
    gallery.show("a/collect/e1")
    assert gallery.scrubber is not first
    gallery.show("a/imagine/r-false")
    assert [s.id for s in gallery.scrubber.annotations] == ["s"]


@pytest.mark.security
@pytest.mark.parametrize("item", ["../../etc/passwd", "a/imagine/../r-false", "", "a/imagine/nothing"])
def test_ids_are_looked_up(
    make_run: Callable[..., Path], tmp_path: Path, sent: list[tuple[dict[str, Any], Any]], item: str
) -> None:
    make_run(tmp_path / "runs", "a")
    gallery = Gallery(tmp_path / "runs")
    with pytest.raises(WovrError, match="there is no rollout"):
        gallery.show(item)
    gallery.view._handle_custom_msg({"kind": "open", "id": item}, [])
    assert sent[-1][0]["kind"] == "trouble"
    for nonsense in (None, 5, [], {"kind": "open", "id": 7}, {"kind": "open"}, {"kind": "x"}):
        gallery.view._handle_custom_msg(nonsense, [])
    assert gallery.scrubber is None


@pytest.mark.fault
def test_a_broken_file_is_a_card_without_a_picture(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "a")
    victim = run / "imagine" / "rollouts" / "r-true.safetensors"
    victim.write_bytes(victim.read_bytes()[:-100])
    answer, pictures = Gallery(tmp_path / "runs").view.page({})
    broken = [card for card in answer["cards"] if card["buffer"] is None]
    assert len(pictures) == 7
    assert [card["name"] for card in broken] == ["r-true"]
    assert "cannot be read" in broken[0]["broken"]
