"""The same span edited by two, in real Chromium: whoever comes later is told whose edit it was, and sees that one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from apps.app import create_app
from apps.bench.browser import chromium, served
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.scrubber.span_log import LOG_NAME, SpanLog

pytestmark = [
    pytest.mark.browser,
    pytest.mark.fault,
    pytest.mark.timeout(180),
]


def test_the_later_edit_is_refused_in_words_and_the_earlier_one_is_shown(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    log = SpanLog(make_run(tmp_path / "runs", "a") / LOG_NAME)

    def edit(event: str, version: int, author: str, start: int) -> None:
        span = {"id": "s", "start": start, "end": 25, "label": "teleports", "severity": 2, "note": ""}
        log.append(
            {"event": event, "op": "put", "version": version, "span": span},
            rollout="r-false", author=author, frames=33,
        )  # fmt: skip

    edit("e1", 1, "ann", 20)
    catalogue = Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0))
    with chromium() as browser, served(create_app(Services(catalogue))) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{url}/?rollout=a/imagine/r-false")
        root = page.locator(".scrubber-root[data-state=ready]")
        root.wait_for(timeout=30_000)
        expect(page.locator(".scrubber-root .row")).to_contain_text(re.compile("#20.25"))
        edit("e2", 2, "bob", 12)  # while the page shows version 1
        root.focus()
        page.keyboard.press("j")
        page.keyboard.press("1")
        expect(page.locator(".scrubber-root")).to_contain_text("not saved: this span has changed meanwhile")
        expect(page.locator(".scrubber-root")).to_contain_text("by bob")
        expect(page.locator(".scrubber-root .row")).to_contain_text(re.compile("#12.25"))
        expect(page.locator(".scrubber-root .row")).to_contain_text("teleports")
        assert [event.id for event in log.events()] == ["e1", "e2"], "nothing is overwritten, nothing is added"
        page.keyboard.press("1")  # now that it has been seen
        expect(page.locator(".scrubber-root .row")).to_contain_text("object vanishes")
        page.wait_for_timeout(500)
        (span,) = log.spans("r-false")
        assert (span.start, span.label, span.version) == (12, "object_vanishes", 3)
    catalogue.close()
