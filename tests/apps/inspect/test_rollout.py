"""One rollout on page Inspect in real Chromium: scrubber, annotations, links, keyboard, what can be missing."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from inspect_page import HOSTILE_RUN, cards, frame, opened, ready
from workbench.scrubber.sample import block, numbered_rollout
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from wovr_core.data.episode_files import write_episode, write_rollout

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
FIXTURES = Callable[..., Path]
XSS = "<img src=x onerror=window.__xss=1>${window.__xss=1}{{window.__xss=1}}"

# The number in row 0 of the bottom blocks (workbench.scrubber.sample), read from right to left: pictures are mirrored.
READ_NUMBER = """(pane) => {
  const root = document.querySelector('#wovr-scrubber .wovr-scrubber > div').shadowRoot;
  const canvas = root.querySelector(`canvas[data-pane=${pane}]`);
  const { width, height } = canvas, side = Math.max(2, Math.floor(width / 12));
  const data = canvas.getContext('2d').getImageData(0, height - Math.floor(side / 2) - 1, width, 1).data;
  let n = 0;
  for (let i = 0; i < 12; i++) if (data[4 * (width - 1 - (i * side + Math.floor(side / 2)))] > 127) n |= 1 << i;
  return n;
}"""


def test_open_scrub_flag_reload_and_undo(site: SimpleNamespace, make_run: FIXTURES) -> None:
    run = make_run(site.runs, "a")
    page = site.visit()
    ready(page).locator("[data-id='a/imagine/r-false']").click()
    opened(page, "a/imagine/r-false")
    expect(page.locator(".wovr-item")).to_contain_text("false success")
    page.locator("button.jump", has_text="frame 20").click()
    expect(page.locator(".scrubber-root")).to_have_attribute("data-frame", "20")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("i")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("o")
    page.keyboard.press("1")
    log = SpanLog(run / LOG_NAME)
    for _ in range(50):
        if (spans := log.spans("r-false")) and spans[0].label == "object_vanishes":
            break
        page.wait_for_timeout(100)
    assert [(span.start, span.end, span.label) for span in spans] == [(21, 25, "object_vanishes")]
    page.wait_for_url("**f=25*")

    page.reload()
    opened(page, "a/imagine/r-false")
    assert frame(page) == 25
    expect(page.locator(".scrubber-root .row")).to_contain_text("object vanishes")
    page.locator(".wovr-item button", has_text="Gallery").click()
    expect(page.locator("[data-id='a/imagine/r-false'] .spans")).to_have_text("1 span")
    page.locator("[data-filter='flagged=1']").click()
    expect(page.locator(".wovr-card")).to_have_count(1)
    page.locator(".wovr-card").click()
    opened(page, "a/imagine/r-false")
    page.locator(".scrubber-root").focus()
    page.keyboard.press("j")
    page.keyboard.press("Delete")
    expect(page.locator(".scrubber-root .row")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.locator(".scrubber-root .row")).to_have_count(1)
    for _ in range(50):
        if len(log.events()) >= 4 and log.spans("r-false"):
            break
        page.wait_for_timeout(100)
    assert [event.op for event in log.events()][-2:] == ["delete", "undo"]
    assert len(log.spans("r-false")) == 1


def test_a_deep_link_shows_that_very_frame(site: SimpleNamespace, make_run: FIXTURES) -> None:
    run = make_run(site.runs, "a")
    rollout, real = numbered_rollout(6, 64, name="numbered")
    write_rollout(run / "rl" / "rollouts", rollout)
    write_episode(run / "collect" / "episodes", real)
    page = site.visit("/?rollout=a/rl/numbered&f=37")
    opened(page, "a/rl/numbered")
    assert frame(page) == 37
    assert page.evaluate(READ_NUMBER, "imagined") == 37
    page.locator(".scrubber-root").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".scrubber-root")).to_have_attribute("data-frame", "36")
    assert page.evaluate(READ_NUMBER, "imagined") == 36
    assert block(64) == 5


def test_back_forward_and_the_next_item(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit("/?kind=audited&order=made")
    order = cards(page)
    page.locator(f"[data-id='{order[0]}']").click()
    opened(page, order[0])
    page.keyboard.press("n")
    opened(page, order[1])
    expect(page.locator(".scrubber-root .title")).to_have_text(order[1].rsplit("/", 1)[1])
    page.go_back()
    expect(page.locator(".wovr-gallery")).to_be_visible()
    assert "kind=audited" in page.url
    assert cards(page) == order
    page.go_forward()
    opened(page, order[1])
    page.locator(".wovr-item button", has_text="Gallery").click()
    expect(page.locator(".wovr-card").first).to_be_visible()


def test_a_link_to_nothing_and_a_server_that_is_gone(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit("/?rollout=../../etc/passwd&f=3")
    expect(page.locator(".wovr-item h2")).to_have_text("There is no such rollout", timeout=20_000)
    page.locator(".wovr-item button", has_text="Back to the gallery").click()
    assert len(cards(page)) == 8
    page.route(re.compile("component_server"), lambda route: route.abort())
    page.locator("button", has_text="Look again").click()
    expect(page.locator(".wovr-main h2")).to_have_text("The gallery could not be loaded")
    page.unroute(re.compile("component_server"))
    page.locator(".wovr-blank button", has_text="Try again").click()
    assert len(cards(page)) == 8
    page.locator("[data-id='a/imagine/r-false']").click()
    opened(page, "a/imagine/r-false")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**rollout=a%2Fimagine%2Fr-false&f=1")
    page.locator(".wovr-item a", has_text="Branch from this frame").click()
    page.wait_for_url("**/branch?rollout=a%2Fimagine%2Fr-false&frame=1**")


def test_texts_are_never_markup(site: SimpleNamespace, make_run: FIXTURES, make_rollout: Callable) -> None:
    """In a run's name, a rollout's instruction and metadata, a note, and a reason of failure."""
    run = make_run(site.runs, HOSTILE_RUN)
    evil = make_rollout("evil", chunks=2)
    task = dataclasses.replace(evil.task, instruction=XSS, suite=XSS)
    evil = dataclasses.replace(evil, task=task, info=evil.info | {"keyframe": XSS}, versions={XSS: XSS, "policy": XSS})
    write_rollout(run / "rl" / "rollouts", evil)
    (run / "rl" / "rollouts" / f"{XSS[:30]}.safetensors").write_bytes(b"no")
    SpanLog(run / LOG_NAME).append(
        {"event": "e", "op": "put", "version": 1, "span":
            {"id": "s", "start": 1, "end": 4, "label": "other", "severity": 1, "note": XSS}},
        rollout="evil", author=XSS, frames=17,
    )  # fmt: skip
    (site.runs / f"{XSS[:30]}bad").mkdir()
    (site.runs / f"{XSS[:30]}bad" / "run.json").write_text(json.dumps({"x": XSS}))
    page = site.visit()
    ready(page)
    item = f"{HOSTILE_RUN}/rl/evil"
    expect(page.locator(".wovr-rail")).to_contain_text(HOSTILE_RUN)
    page.locator(".wovr-card", has_text=XSS).first.click()
    opened(page, item)
    expect(page.locator(".wovr-item .task")).to_have_text(f"“{XSS}”")
    expect(page.locator(".wovr-item")).to_contain_text(HOSTILE_RUN)
    expect(page.locator(".scrubber-root .row .text")).to_have_text(XSS)
    page.reload()
    opened(page, item)
    page.wait_for_timeout(300)
    assert page.evaluate("window.__xss") is None
    assert (
        page.evaluate("[...document.querySelectorAll('img')].filter((i) => i.getAttribute('src') === 'x').length") == 0
    )


def test_light_and_dark_are_remembered_and_nothing_overflows(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit(color_scheme="light")
    ready(page)
    background = "getComputedStyle(document.querySelector('.wovr-page')).backgroundColor"
    light = page.evaluate(background)
    page.get_by_label("colours: light or dark").select_option("dark")
    assert page.evaluate(background) != light
    page.reload()
    ready(page)
    assert page.evaluate(background) != light
    page.locator("[data-id='a/imagine/r-false']").click()
    opened(page, "a/imagine/r-false")
    expect(page.locator(".scrubber-root")).to_have_attribute("data-theme", "dark")
    for width in (1920, 1280, 1000, 700):
        page.set_viewport_size({"width": width, "height": 720})
        page.wait_for_timeout(120)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.go_back()
    for width in (700, 1000, 1920):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_alone_is_enough(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit()
    ready(page)
    page.locator("[data-filter='verdict=false_success']").focus()
    page.keyboard.press("Space")
    expect(page.locator(".wovr-card")).to_have_count(1)
    assert page.evaluate("document.activeElement.dataset.filter") == "verdict=false_success", "focus stays"
    page.locator(".wovr-card").focus()
    page.keyboard.press("Enter")
    opened(page, "a/imagine/r-false")
    page.wait_for_function("document.activeElement.closest('#wovr-scrubber')")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".scrubber-root")).to_have_attribute("data-frame", "1")
    assert np.isfinite(frame(page))
