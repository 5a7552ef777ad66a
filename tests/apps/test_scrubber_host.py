"""The scrubber in a Gradio app, in real Chromium."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

import scrubber_checks as checks
from apps.bench.browser import chromium, served
from apps.bench.scrubber_site import site
from apps.scrubber_host import PREFIX, PackStore
from workbench.scrubber.frame_packs import FramePack
from workbench.scrubber.payload import PayloadConfig, from_episode, from_rollout
from workbench.scrubber.sample import numbered_rollout
from workbench.scrubber.span_log import SpanLog

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240), pytest.mark.xdist_group("scrubber_gradio")]
NAMES = ("numbered", "other", "episode", "large")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    log = SpanLog(tmp_path_factory.mktemp("spans") / "annotations.jsonl")
    rollout, real = numbered_rollout(64, 64, name="numbered")
    short, _ = numbered_rollout(3, 64, name="other")
    _, episode = numbered_rollout(4, 64, name="x")
    big, big_real = numbered_rollout(40, 60, name="large")  # grown to 240, the blocks stay whole
    grow = lambda frames: np.repeat(np.repeat(frames, 4, axis=1), 4, axis=2)  # noqa: E731
    big, big_real = (dataclasses.replace(it, frames=grow(it.frames)) for it in (big, big_real))
    payloads = [
        from_rollout(rollout, real, success_threshold=0.9),
        from_rollout(short),
        from_episode(dataclasses.replace(episode, id="episode")),
        from_rollout(big, big_real, config=PayloadConfig(codec="jpeg")),
    ]
    heard: list[dict[str, Any]] = []
    with served(site(payloads, log, heard)) as url, chromium() as browser:
        yield SimpleNamespace(url=url, browser=browser, log=log, heard=heard)


@pytest.fixture(scope="module")
def driver(world: SimpleNamespace) -> Iterator[Any]:
    page = world.browser.new_page(viewport={"width": 1280, "height": 720})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(world.url)
    driver = checks.Driver(page, lambda: world.log.spans("numbered"))
    driver.ready()
    yield driver
    page.close()
    assert problems == []


@pytest.mark.parametrize("name", checks.SHARED)
def test_scrubber_in_gradio(driver: Any, name: str) -> None:
    getattr(checks, name)(driver)


def test_author_comes_from_the_server(driver: Any) -> None:
    driver.clear()
    span = {"id": "forged", "start": 0, "end": 3, "label": "other", "severity": 1, "note": "", "author": "root"}
    edit = {"kind": "edit", "event": "forged", "rollout": "numbered", "op": "put", "version": 1, "author": "root"}
    driver.run("await s.model.send(argument)", edit | {"span": span})
    assert [span.author for span in driver.annotations()] == ["tester"]


def test_a_bad_edit_is_refused_and_the_page_goes_back(driver: Any) -> None:
    driver.run("s.edits.open('numbered', [])")
    before = driver.annotations()
    driver.run("s.edits.put({id: 'bad', start: 5, end: 99999, label: 'other', severity: 2, note: ''})")
    checks.expect(driver.page.locator(".toast.bad")).to_contain_text("0 <= start <= end < 513")
    assert driver.saved() == before
    assert not any(span["id"] == "bad" for span in driver.shown())
    assert driver.run("return s.edits.done.length") == 0


def test_an_edit_survives_a_server_that_does_not_answer(driver: Any) -> None:
    driver.clear()
    driver.page.route(re.compile("component_server"), lambda route: route.abort())
    driver.press("i", "ArrowRight", "o")
    checks.expect(driver.page.locator(".status.bad").first).to_contain_text("not saved")
    assert driver.annotations() == []
    driver.page.unroute(re.compile("component_server"))
    assert len(driver.saved()) == 1


def test_branch_and_queue(world: SimpleNamespace, driver: Any) -> None:
    driver.clear()
    driver.run("s.seek(42)")
    world.heard.clear()
    driver.press("b")
    driver.page.wait_for_timeout(100)
    driver.press("n")
    checks.expect(driver.page.locator(".title")).to_have_text("other")
    driver.ready()
    assert {"kind": "branch", "rollout": "numbered", "frame": 42} in world.heard
    assert driver.run("return s.meta.panes.map((pane) => pane.key)") == ["imagined"]
    assert driver.run("return s.timeline.lanes.map((lane) => lane.kind)") == [
        "spans",
        "curve",
        "actions",
        "actions",
        "actions",
        "mask",
        "axis",
    ]
    checks.expect(driver.page.locator(".bar .k", has_text="trim")).to_be_hidden()
    driver.press("n")
    checks.expect(driver.page.locator(".title")).to_have_text("episode")
    driver.ready()
    assert driver.run("return s.meta.panes.map((pane) => pane.key)") == ["real"]
    assert driver.run("return s.meta.mask") is None
    driver.press("p")
    checks.expect(driver.page.locator(".title")).to_have_text("other")
    driver.press("p")
    checks.expect(driver.page.locator(".title")).to_have_text("numbered")
    driver.ready()


def test_large_frames_stay_within_the_budget(driver: Any) -> None:
    driver.press("n")
    checks.expect(driver.page.locator(".title")).to_have_text("other")
    driver.press("n")
    checks.expect(driver.page.locator(".title")).to_have_text("episode")
    driver.press("n")
    checks.expect(driver.page.locator(".title")).to_have_text("large")
    driver.ready()
    order = list(range(0, 321, 7)) + list(range(320, 0, -13)) + [5, 300, 8, 250]
    rows = driver.run(
        "return visit(argument, () => [seen(), s.measure().bytes]);",
        order,
    )
    for k, (row, held) in zip(order, rows, strict=True):
        assert set(row.values()) == {k}
        assert held <= 128 * 2**20
    assert driver.run("return s.measure().peakBytes") <= 128 * 2**20


def test_deep_links(world: SimpleNamespace) -> None:
    span = {"id": "linked", "start": 4, "end": 9, "label": "teleports", "severity": 3, "note": "x"}
    edit = {"event": "linked-e", "op": "put", "version": 1, "span": span}
    world.log.append(edit, rollout="other", author="ann", frames=25)
    page = world.browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{world.url}/?rollout=other&f=7&span=linked")
    driver = checks.Driver(page, lambda: world.log.spans("other"))
    checks.expect(page.locator(".title")).to_have_text("other")
    driver.ready()
    driver.at(7)
    assert driver.run("return s.selected") == "linked"
    checks.expect(page.locator(".editor select")).to_have_value("teleports")
    driver.press("ArrowRight", "ArrowRight")
    page.wait_for_url("**/?*f=9*")
    assert "span=linked" in page.url
    assert "rollout=other" in page.url
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.__copied = text; }")
    driver.press("l")
    checks.expect(page.locator(".toast")).to_have_text("link copied")
    assert page.evaluate("window.__copied") == page.url
    page.close()


def test_themes_and_narrow_pages(world: SimpleNamespace) -> None:
    backgrounds = set()
    for scheme in ("light", "dark"):
        page = world.browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
        page.goto(world.url)
        driver = checks.Driver(page, list)
        driver.ready()
        backgrounds.add(page.locator(".scrubber-root").evaluate("(root) => getComputedStyle(root).backgroundColor"))
        driver.press("6")  # the longest label
        box = page.locator(".scrubber-root").bounding_box()
        assert box["y"] + box["height"] <= 720, "the whole tool stands in a 1280x720 window"
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        page.set_viewport_size({"width": 700, "height": 720})
        checks.expect(page.locator(".scrubber-root.narrow")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 700
        page.close()
    assert len(backgrounds) == 2


def test_the_column_of_spans_is_there_where_one_is_or_can_be(world: SimpleNamespace) -> None:
    page = world.browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(world.url)
    checks.Driver(page, list).ready()
    root, side, timeline = (page.locator(f".scrubber-root{part}") for part in ("", " .side", " .timeline"))
    checks.expect(side).to_be_visible()
    before = timeline.bounding_box()["width"]
    page.evaluate("""() => {
      window.view = [...document.querySelectorAll('*')].find((node) => node.wovrScrubber).wovrScrubber;
      view.meta.can_edit = false;
      view.edits.accept([]);
      view.spansChanged();
    }""")
    checks.expect(side).to_be_hidden()
    assert timeline.bounding_box()["width"] > before + 100
    page.evaluate("""() => {
      view.edits.accept([{ id: 's', start: 1, end: 2, label: 'other', severity: 1, note: '', version: 1 }]);
      view.spansChanged();
    }""")
    checks.expect(side).to_be_visible()
    checks.expect(root).not_to_have_class(re.compile("spanless"))
    assert timeline.bounding_box()["width"] == before
    page.close()


def test_removal_lets_everything_go(world: SimpleNamespace) -> None:
    page = world.browser.new_page()
    page.goto(world.url)
    driver = checks.Driver(page, list)
    driver.ready()
    page.evaluate("window.kept = [...document.querySelectorAll('*')].find((node) => node.wovrScrubber).wovrScrubber")
    page.evaluate("kept.play(true); document.querySelector('#view').remove()")
    page.wait_for_function("kept.signal.aborted && kept.measure().bitmaps === 0", timeout=5000)
    page.close()


def test_frames_are_exact_without_image_decoder(world: SimpleNamespace) -> None:
    """As on a plain http address of another machine, where browsers hide ImageDecoder."""
    page = world.browser.new_page()
    page.add_init_script("delete window.ImageDecoder")
    page.goto(world.url)
    driver = checks.Driver(page, list)
    driver.ready()
    assert driver.run("return [...s.frames.panes[0].bitmaps.values()][0] instanceof ImageBitmap")
    checks.frames_are_exact(driver)
    page.close()


def test_lost_frames_say_so(world: SimpleNamespace) -> None:
    page = world.browser.new_page()
    page.route(f"**{PREFIX}/packs/*", lambda route: route.fulfill(status=404, body="gone"))
    page.goto(world.url)
    checks.expect(page.locator(".veil").first).to_contain_text("could not be loaded (HTTP 404)")
    page.locator(".scrubber-root").focus()
    page.keyboard.press("ArrowRight")
    checks.expect(page.locator(".scrubber-root")).to_have_attribute("data-frame", "1")
    page.close()


def test_routes(world: SimpleNamespace) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{world.url}{PREFIX}/packs/{'0' * 64}")
    with urllib.request.urlopen(f"{world.url}{PREFIX}/module-old.js") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"].startswith("text/javascript")
    config = json.load(urllib.request.urlopen(f"{world.url}/config"))
    (html,) = (block["props"] for block in config["components"] if block["props"].get("elem_id") == "view")
    assert "$" not in html["html_template"]
    with urllib.request.urlopen(f"{world.url}{html['props']['module_url']}") as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert b"export default { render }" in answer.read()


def test_pack_store_is_bounded() -> None:
    store = PackStore(budget=25)
    keys = [store.put(FramePack(bytes([i]) * 10, (0, 10), "image/webp", 1, 1)) for i in range(3)]
    assert store.get(keys[0]) is None
    assert store.get(keys[1]) == b"\x01" * 10
    store.put(FramePack(b"z" * 10, (0, 10), "image/webp", 1, 1))
    assert store.get(keys[2]) is None
    assert store.get(keys[1]) is not None
