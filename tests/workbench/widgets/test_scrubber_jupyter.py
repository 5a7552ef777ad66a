"""The widget in JupyterLab with a real kernel, in real Chromium: the same checks as in the app."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("jupyterlab")
pytest.importorskip("playwright")

import scrubber_checks as checks
from apps.bench.browser import chromium
from workbench.scrubber.span_log import SpanLog

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("jupyter"),
]

CELL = """\
from workbench.scrubber.sample import numbered_rollout
from workbench.widgets import Scrubber
rollout, real = numbered_rollout(64, 64, name="numbered")
scrubber = Scrubber(rollout, real, log="annotations.jsonl", author="nb", success_threshold=0.9)
scrubber"""


@pytest.fixture(scope="module")
def driver(lab: SimpleNamespace) -> Iterator[Any]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        address = lab.write("scrub.ipynb", CELL, "scrubber.seek(77)")
        page.goto(address)
        page.locator(".jp-Notebook .jp-CodeCell").first.click(timeout=90_000)
        indicator = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first
        indicator.wait_for(state="attached", timeout=60_000)
        lab.run_cell(page, 0)
        driver = checks.Driver(page, lambda: SpanLog(lab.work / "annotations.jsonl").spans("numbered"))
        page.locator(".scrubber-root[data-state=ready]").wait_for(state="attached", timeout=90_000)
        page.locator(".scrubber-root").scroll_into_view_if_needed()
        driver.ready()
        yield driver


@pytest.mark.parametrize("name", checks.SHARED)
def test_scrubber_in_jupyter(driver: Any, name: str) -> None:
    getattr(checks, name)(driver)


def test_keys_do_not_reach_the_notebook(driver: Any) -> None:
    """D D deletes a cell and M turns it to text in JupyterLab, when they get there."""
    driver.clear()
    driver.press("d", "d", "m", "b", "a", "x")
    assert driver.page.locator(".jp-Notebook .jp-Cell").count() == 2
    assert driver.page.locator(".jp-Notebook .jp-CodeCell").count() == 2


def test_python_moves_the_clock_and_sees_the_author(driver: Any) -> None:
    driver.clear()
    driver.press("i", "ArrowRight", "o")
    assert [span.author for span in driver.saved()] == ["nb"]
    driver.page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".cm-content").click()
    driver.page.keyboard.press("Shift+Enter")
    driver.at(77)


def test_it_follows_jupyterlabs_theme(driver: Any) -> None:
    assert driver.page.locator(".scrubber-root").get_attribute("data-theme") == "light"
    driver.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    checks.expect(driver.page.locator(".scrubber-root")).to_have_attribute("data-theme", "dark")
    driver.page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    assert "rollout=" not in driver.page.url, "JupyterLab's own address is left alone"


def test_the_view_goes_with_its_cell(driver: Any) -> None:
    driver.run("window.kept = s;")
    driver.page.locator(".jp-Notebook .jp-CodeCell").first.locator(".cm-content").click()
    driver.page.keyboard.press("Escape")
    driver.press("d", "d")
    driver.page.wait_for_function("kept.signal.aborted && kept.measure().bitmaps === 0", timeout=10_000)
