"""Page Review in real Chromium: one item after another by keyboard, claims, decisions, roles, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

from apps.app import create_app
from apps.bench.browser import served
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.review.log import ReviewLog
from workbench.review.queue import ReviewQueue
from workbench.review.ranking import QueueConfig
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.scrubber.spans import LABELS
from workbench.server.roles import Role, User

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
]
XSS = "<img src=x onerror=window.__xss=1>${window.__xss=1}{{window.__xss=1}}"
FIRST = "a/imagine/r-false"
WAIT = 30_000


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """Whoever asks is `services.who`; nothing is labelled twice, and no gold comes, unless a test says so."""
    return services_with(tmp_path)


def services_with(below: Path, **config: Any) -> Services:
    who = SimpleNamespace(user=User("ann", Role.ANNOTATOR))
    catalogue = Catalogue(CatalogueConfig(runs=below / "runs", seconds=0.0, patience=60.0))
    made = Services(catalogue, user_of=lambda _: who.user)
    (below / "runs").mkdir(exist_ok=True)
    made.__dict__["queue"] = ReviewQueue(
        catalogue.store, QueueConfig(**{"double_share": 0.0, "gold_share": 0.0} | config)
    )
    made.__dict__["who"] = who
    return made


@pytest.fixture
def serve(chrome: Any) -> Iterator[Callable[..., Page]]:
    """Opens page Review of an app over these services."""
    closing: list[Any] = []
    problems: list[str] = []

    def visit(services: Services, query: str = "") -> Page:
        site = served(create_app(services))
        url = site.__enter__()
        page = chrome.new_page(viewport={"width": 1280, "height": 720})
        closing.append((page, site))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/review{query}")
        return page

    yield visit
    for page, site in closing:
        page.close()
        site.__exit__(None, None, None)
    assert problems == []


def ready(page: Page, item: str | None = None) -> str:
    """Waits until an item (this one) is open; returns its id."""
    host = page.locator(".wovr-review")
    if item:
        expect(host).to_have_attribute("data-item", item, timeout=WAIT)
    expect(host).to_have_attribute("data-state", "ready", timeout=WAIT)
    page.locator("section .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
    return host.get_attribute("data-item") or ""


def gone_from(page: Page, item: str) -> None:
    expect(page.locator(".wovr-review")).not_to_have_attribute("data-item", item, timeout=WAIT)


def say(page: Page, message: dict[str, Any]) -> dict[str, Any]:
    """Calls the hidden endpoint as the page's own script would."""
    answer: dict[str, Any] = page.evaluate(
        "(message) => document.querySelector('.wovr-review').wovrReview.send(message)", message
    )
    return answer


def test_a_sitting_by_keyboard_alone(
    services: Services, serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    page = serve(services)
    assert ready(page) == FIRST, "the most telling comes first"
    expect(page.locator(".review-side")).to_contain_text("imagined success, real failure")
    page.keyboard.press("d")  # to the first divergent frame
    expect(page.locator(".scrubber-root")).to_have_attribute("data-frame", "20")
    for key in ("i", "ArrowRight", "ArrowRight", "o", "1", "Shift+3", "m"):
        page.keyboard.press(key)
    page.keyboard.type("it is gone, s? yes")  # letters that are keys elsewhere
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    gone_from(page, FIRST)
    second = ready(page)
    span = SpanLog(run / LOG_NAME).spans("r-false")[0]
    assert (span.start, span.end, span.label, span.severity) == (20, 22, "object_vanishes", 3)
    assert (span.note, span.author) == ("it is gone, s? yes", "ann")
    assert ReviewLog(run).lines()[0].spans == (span,)

    page.keyboard.press("s")
    page.keyboard.press("Enter")  # without a reason nothing happens
    page.keyboard.type("cannot tell")
    page.keyboard.press("Enter")
    gone_from(page, second)
    third = ready(page)
    assert [(line.op, line.why) for line in ReviewLog(run).lines()][1:] == [("skip", "cannot tell")]
    page.keyboard.press("i")
    page.keyboard.press("Escape")  # lets go of the mark
    expect(page.locator(".wovr-review")).to_have_attribute("data-item", third)
    page.keyboard.press("Escape")  # gives the item back
    expect(page.locator(".wovr-review")).to_have_attribute("data-state", "paused", timeout=WAIT)
    page.keyboard.press("Enter")
    assert ready(page) == third, "it comes again"
    expect(page.locator(".wovr-review")).to_have_attribute("data-done", "1")
    page.reload()
    assert ready(page) == third, "a claim survives a refresh"


@pytest.mark.fault
def test_a_lost_claim_is_shown_and_the_spans_stay(
    serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    services = services_with(tmp_path, lease_seconds=600.0)
    page = serve(services)
    item = ready(page)
    for key in ("i", "ArrowRight", "o", "4"):
        page.keyboard.press(key)
    expect(page.locator(".scrubber-root .status")).to_have_text("saved", timeout=WAIT)
    clock = services.queue.now
    services.queue.now = lambda: clock() + 3600  # the lid was closed
    taken = services.queue.claim("ben")
    assert taken is not None
    assert taken.id == item
    page.evaluate("document.querySelector('.wovr-review').wovrReview.renew()")
    expect(page.locator(".review-notes")).to_contain_text("has expired", timeout=WAIT)
    expect(page.locator(".review-notes")).to_contain_text("Your spans are saved")
    page.keyboard.press("Enter")
    expect(page.locator(".review-notes")).to_contain_text("others have the item", timeout=WAIT)
    assert [span.label for span in SpanLog(run / LOG_NAME).spans("r-false")] == ["teleports"]
    assert ReviewLog(run).lines() == []
    page.keyboard.press("Enter")
    assert ready(page) != item


@pytest.mark.fault
def test_an_unreachable_server_is_said_and_waited_for(
    services: Services, serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    page = serve(services)
    item = ready(page)
    page.route(re.compile("component_server"), lambda route: route.abort())
    for key in ("i", "ArrowRight", "o", "2", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".review-notes")).to_contain_text("cannot be reached", timeout=WAIT)
    expect(page.locator(".wovr-review")).to_have_attribute("data-item", item)
    assert ReviewLog(run).lines() == []
    page.unroute(re.compile("component_server"))
    gone_from(page, item)
    ready(page)
    expect(page.locator(".review-notes")).to_be_empty()
    assert [line.spans[0].label for line in ReviewLog(run).lines()] == ["object_duplicates"]


def _label_all(services: Services, run: Path) -> None:
    """ann and ben label everything, and differ about the first item."""
    for name, start in (("ann", 3), ("ben", 20)):
        while claim := services.queue.claim(name):
            if claim.id == FIRST:
                body = {"id": f"s-{name}", "start": start, "end": start + 5, "label": "teleports", "severity": 2}
                edit = {"event": f"e-{name}", "op": "put", "version": 1, "span": body | {"note": XSS}}
                SpanLog(run / LOG_NAME).append(edit, rollout=claim.key[1], author=name, frames=33)
            services.queue.submit(claim)


@pytest.mark.security
def test_an_operator_decides_between_two(
    serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    services = services_with(tmp_path, double_share=1.0)
    services.catalogue.problems()
    _label_all(services, run)
    services.__dict__["who"].user = User("olga", Role.OPERATOR)
    page = serve(services, "?view=disputes")
    expect(page.locator(".wovr-review")).to_have_attribute("data-dispute", FIRST, timeout=WAIT)
    page.locator(".dispute .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
    expect(page.locator(".lane .who b")).to_have_text(["A", "B"])
    assert page.evaluate("window.__xss") is None
    # On the scrubber's own time axis: the two spans begin where the timeline draws their frames.
    shown = page.evaluate("""() => [...document.querySelectorAll('.lane .span')].map((node) => {
      const timeline = document.querySelector('.dispute .wovr-scrubber').firstElementChild.wovrScrubber.timeline;
      const first = Number(/frames (\\d+)/.exec(node.title)[1]);
      return [first, node.getBoundingClientRect().left - timeline.canvas.getBoundingClientRect().left
        - timeline.left(first)];
    })""")
    assert sorted(first for first, _ in shown) == [3, 20]
    assert all(abs(off) <= 3 for _, off in shown), shown
    second = shown[1][0]
    page.keyboard.press("b")
    page.keyboard.press("Enter")  # without a reason: into its field
    page.keyboard.type("the jump is here")
    page.locator(".dispute button", has_text="Decide").click()
    expect(page.locator(".lanes .wovr-notice")).to_have_text("Decided by olga: the jump is here", timeout=WAIT)
    expect(page.locator(".lane .who b").first).to_have_text(re.compile("ann|ben"))
    line = ReviewLog(run).lines()[-1]
    assert (line.op, line.author, line.spans[0].start) == ("adjudicate", "olga", second)
    page.locator("[data-view=quality]").click()
    expect(page.locator("table.quality tbody tr")).to_have_count(2, timeout=WAIT)
    expect(page.locator("table.quality")).to_contain_text("1/1")
    assert page.evaluate("window.__xss") is None


def test_one_rollout_is_made_gold(
    services: Services, serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    services.__dict__["who"].user = User("olga", Role.OPERATOR)
    page = serve(services, "?view=quality")
    which = page.locator(".gold-one input[aria-label=rollout]")
    expect(which).to_have_value(FIRST, timeout=WAIT)
    which.fill("a/imagine/r-missed")
    page.locator(".gold-one button", has_text="Open").click()
    page.locator(".gold-one .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
    for key in ("Home", "ArrowRight", "i", "ArrowRight", "ArrowRight", "o", "Digit4"):
        page.keyboard.press(key)
    page.locator("[data-do=gold]").click()  # without a reason: into its field
    page.keyboard.type("seen in the replay")
    page.locator("[data-do=gold]").click()
    expect(page.locator(".wovr-card", has_text="Known answers")).to_contain_text("seen in the replay", timeout=WAIT)
    (line,) = ReviewLog(run).lines()
    assert (line.op, line.rollout, line.author, line.why) == ("gold", "r-missed", "olga", "seen in the replay")
    assert [(span.start, span.end, span.label) for span in line.spans] == [(1, 3, LABELS[3].key)]
    expect(which).to_have_value(FIRST, timeout=WAIT)
    which.fill("a/imagine/r-missed")
    page.locator(".gold-one button", has_text="Open").click()
    page.locator(".gold-one .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
    assert not (run / LOG_NAME).exists(), "a draft goes nowhere"


@pytest.mark.security
def test_roles_hold_for_who_calls_the_endpoint_directly(
    services: Services, serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "runs", "a")
    services.__dict__["who"].user = User("vic", Role.VIEWER)
    page = serve(services, "?view=quality")
    expect(page.locator(".wovr-empty h2")).to_have_text("Labelling is for annotators", timeout=WAIT)
    expect(page.locator(".review-top .tab")).to_have_count(1)
    span = {"id": "s", "start": 1, "end": 2, "label": "other", "severity": 1, "note": ""}
    edit = {"op": "edit", "edit": "put", "rollout": FIRST, "event": "e", "version": 1, "span": span}
    for message in ({"op": "next"}, edit, {"op": "submit", "id": FIRST, "made": 0}):
        assert "takes the role annotator" in say(page, message)["error"]
    services.__dict__["who"].user = User("ann", Role.ANNOTATOR)
    for operation in ("disputes", "quality", "unseen", "loop", "correct", "retrain", "again"):
        assert "takes the role operator" in say(page, {"op": operation, "run": "a", "version": "x"})["error"]
    for message in (
        "text",
        {},
        {"op": "__init__"},
        {"op": "submit", "id": ["x"], "made": 0},
        {"op": "gold", "share": {}},
    ):
        assert say(page, message).get("error")
    assert not (run / LOG_NAME).exists()
    assert ReviewLog(run).lines() == []


def test_the_guideline_and_an_empty_queue(
    services: Services, serve: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    page = serve(services)
    expect(page.locator(".wovr-empty h2")).to_have_text("Nothing to review yet", timeout=WAIT)
    expect(page.locator(".wovr-empty pre")).to_have_text("wovr demo")
    page.keyboard.press("?")
    expect(page.locator(".review-guide section h3")).to_have_count(len(LABELS))
    page.wait_for_function(
        "[...document.querySelectorAll('.review-guide img')].every((i) => i.scrollIntoView() ?? i.complete)"
    )
    assert page.evaluate("[...document.querySelectorAll('.review-guide img')].every((i) => i.naturalWidth > 200)")
    page.keyboard.press("Escape")
    make_run(tmp_path / "runs", "a")
    services.queue.ranked(again=True)
    services.queue.__dict__["_ranked"] = float("-inf")
    page.locator(".wovr-empty button").focus()
    page.keyboard.press("Enter")
    assert ready(page) == FIRST
    for width in (1920, 1280, 900):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
