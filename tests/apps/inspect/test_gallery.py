"""The gallery of page Inspect in real Chromium: film strips, filters, what is broken, and the bar above all pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from apps.pages import PAGES
from inspect_page import HOSTILE_RUN, cards, choose, opened, ready

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
FIXTURES = Callable[..., Path]


def test_filters_narrow_the_gallery_and_live_in_the_address(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    make_run(site.runs, "b", recipe="cpu")
    page = site.visit()
    assert len(cards(page)) == 16
    assert cards(page)[0].endswith("/imagine/r-false"), "the most telling comes first"
    choose(page, "verdict", "false_success")
    expect(page.locator(".wovr-card")).to_have_count(2)
    choose(page, "run", "b")
    expect(page.locator(".wovr-card")).to_have_count(1)
    assert cards(page) == ["b/imagine/r-false"]
    choose(page, "verdict", "true_success")
    expect(page.locator(".wovr-card")).to_have_count(2)
    address = page.url
    assert "run=b" in address
    again = site.visit(address.removeprefix(site.url))
    assert cards(again) == cards(page)
    again.locator("input[type=search]").fill("r-true")
    expect(again.locator(".wovr-card")).to_have_count(1)
    again.locator("input[type=search]").fill("nothing like this")
    expect(again.locator(".wovr-blank h2")).to_have_text("Nothing passes these filters")
    again.locator(".wovr-blank button").click()
    expect(again.locator(".wovr-card")).to_have_count(16)


def test_strips_are_real_pictures(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit()
    ready(page)
    page.wait_for_function("[...document.querySelectorAll('.wovr-film img')].every((image) => image.complete)")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.wovr-film img')].map((i) => [i.naturalWidth, i.naturalHeight])"
    )
    assert len(sizes) == 8
    assert all(width > 300 and height in (64, 130) for width, height in sizes)
    assert page.locator(".wovr-film.two").count() == 4


def test_filters_are_saved_renamed_deleted_and_seen_by_a_second_tab(site: SimpleNamespace, make_run: FIXTURES) -> None:
    make_run(site.runs, "a")
    page = site.visit()
    ready(page)
    choose(page, "verdict", "false_success")
    expect(page.locator(".wovr-card")).to_have_count(1)
    page.get_by_label("name for the present filter").fill(HOSTILE_RUN[:40])
    page.keyboard.press("Enter")
    saved = page.locator(".saved button.apply")
    expect(saved).to_have_text(HOSTILE_RUN[:40])
    expect(saved).to_have_attribute("aria-pressed", "true")
    page.locator(".wovr-rail button", has_text="Clear filters").click()
    expect(page.locator(".wovr-card")).to_have_count(8)
    expect(saved).to_have_attribute("aria-pressed", "false")
    second = site.visit()
    ready(second)
    second.locator(".saved button.apply").click()
    expect(second.locator(".wovr-card")).to_have_count(1)
    assert "verdict=false_success" in second.url
    second.locator(".saved button", has_text="✎").click()
    second.keyboard.press("Control+a")
    second.keyboard.type("lies")
    second.keyboard.press("Enter")
    expect(second.locator(".saved button.apply")).to_have_text("lies")
    page.reload()
    ready(page)
    expect(page.locator(".saved button.apply")).to_have_text("lies")
    page.get_by_label("name for the present filter").fill("lies")
    page.keyboard.press("Enter")  # saved over it: everything, now
    page.wait_for_timeout(300)
    page.get_by_label("delete lies").click()
    expect(page.locator(".saved button.apply")).to_have_count(0)
    assert page.evaluate("window.__xss") is None
    page.get_by_label("name for the present filter").fill("x")
    page.route(re.compile("component_server"), lambda route: route.abort())
    page.keyboard.press("Enter")
    expect(page.locator(".wovr-rail .wovr-error")).to_have_text("The server cannot be reached.")
    expect(page.locator(".wovr-lost")).to_contain_text("Is `wovr app` still running?")


def test_a_run_that_appears_is_found(site: SimpleNamespace, make_run: FIXTURES) -> None:
    page = site.visit()
    expect(page.locator(".wovr-page")).to_have_attribute("data-state", "empty", timeout=20_000)
    expect(page.locator(".wovr-blank pre")).to_have_text("wovr demo")
    expect(page.locator(".wovr-blank")).to_contain_text(str(site.runs))
    make_run(site.runs, "a")
    page.locator(".wovr-blank button", has_text="Look again").click()
    assert len(cards(page)) == 8


def test_a_corrupt_rollout_is_a_broken_card_among_good_ones(site: SimpleNamespace, make_run: FIXTURES) -> None:
    run = make_run(site.runs, "a")
    victim = run / "imagine" / "rollouts" / "r-true.safetensors"
    page = site.visit()
    assert len(cards(page)) == 8
    victim.write_bytes(victim.read_bytes()[:-100])
    page.locator("[data-id='a/imagine/r-true']").click()  # it broke after it was listed
    expect(page.locator(".wovr-item h2")).to_have_text("This rollout cannot be opened", timeout=20_000)
    expect(page.locator(".wovr-item .why")).to_contain_text("r-true.safetensors")
    expect(page.locator("#wovr-scrubber")).to_be_hidden()
    page.locator(".wovr-item button", has_text="Back to the gallery").click()
    expect(page.locator(".wovr-card.broken .why")).to_contain_text("r-true.safetensors cannot be read")
    assert len(cards(page)) == 8
    (site.runs / "bad").mkdir()
    (site.runs / "bad" / "run.json").write_text("{")
    page.locator("button", has_text="Look again").click()
    expect(page.locator(".wovr-problem")).to_contain_text("bad cannot be shown")
    assert len(cards(page)) == 8
    page.locator("[data-id='a/imagine/r-false']").click()
    opened(page, "a/imagine/r-false")


def test_the_bar_on_top_names_the_pages_and_who_is_looking(site: SimpleNamespace) -> None:
    page = site.visit()
    expect(page.locator(".wovr-bar a[aria-current=page]")).to_have_text("Inspect")
    expect(page.locator(".wovr-bar .who")).to_contain_text("operator")
    assert page.locator(".wovr-bar nav a").count() == len(PAGES)
    expect(page).to_have_title("Inspect · WoVR workbench")
    ready_or_empty = page.locator(".wovr-page[data-state]")
    ready_or_empty.wait_for(timeout=20_000)
    page.keyboard.press("Tab")
    expect(page.locator(".wovr-skip")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.classList.contains('wovr-page')")
    page.locator(".wovr-bar nav a", has_text="Lineage").click()
    expect(page.locator(".wovr-bar a[aria-current=page]")).to_have_text("Lineage")
    expect(page.locator(".wovr-lineage[data-state=empty] pre")).to_have_text("wovr demo", timeout=20_000)
    expect(page.locator(".nav-holder")).to_be_hidden()
