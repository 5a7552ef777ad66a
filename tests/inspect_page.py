"""Page Inspect as a browser sees it: what its tests look for, and press."""

from __future__ import annotations

from playwright.sync_api import Page, expect

HOSTILE_RUN = "<img src=x onerror=window.__xss=1>&amp;${window.__xss=1}"
"""A run's name that would be markup, or code, if a page took it for that."""


def ready(page: Page) -> Page:
    page.locator(".wovr-page[data-state=ready] .wovr-grid:not(.stale)").wait_for(timeout=20_000)
    return page


def cards(page: Page) -> list[str]:
    ready(page)
    return [card.get_attribute("data-id") or "" for card in page.locator(".wovr-card").all()]


def choose(page: Page, facet: str, value: str) -> None:
    page.locator(f"[data-filter='{facet}={value}']").click()


def opened(page: Page, item: str) -> Page:
    expect(page.locator(".wovr-item")).to_have_attribute("data-id", item, timeout=20_000)
    page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=20_000)
    return page


def frame(page: Page) -> int:
    return int(page.locator(".scrubber-root").get_attribute("data-frame") or -1)
