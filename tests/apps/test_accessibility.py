"""Every page of the app under axe-core in real Chromium, light and dark: no serious or critical finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from apps.app import create_app
from apps.bench.browser import chromium, served
from apps.pages import PAGES
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
]
SETTLED = """() => {
  const page = document.querySelector('.wovr-page');
  return page && page.childElementCount && page.innerText.trim().length > 20 && !page.querySelector('.ghost')
    && document.querySelector('.wovr-bar a[aria-current=page]') && document.querySelector('.wovr-bar .who b');
}"""
NAMES = """() => [...document.querySelectorAll('h1')].map((node) => node.textContent)"""


@pytest.fixture(scope="module")
def kept() -> Iterator[SimpleNamespace]:
    """Whatever the module's one browser and app need."""
    with chromium() as browser:
        site = SimpleNamespace(browser=browser, url=None, close=lambda: None)
        yield site
        site.close()


@pytest.fixture
def site(kept: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Any:
    if kept.url is None:
        folder = tmp_path_factory.mktemp("accessible")
        make_run(folder / "runs", "demo")
        catalogue = Catalogue(CatalogueConfig(runs=folder / "runs"))
        context = served(create_app(Services(catalogue, strips=Strips(folder / "cache"))))
        kept.url = context.__enter__()
        kept.close = lambda: context.__exit__(None, None, None)
    return kept


def opened(site: SimpleNamespace, path: str, scheme: str) -> Page:
    page: Page = site.browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    page.goto(f"{site.url}/{path}")
    page.wait_for_function(SETTLED, timeout=60_000)
    page.wait_for_timeout(400)  # pictures and curves
    return page


def findings(page: Page) -> list[str]:
    """Serious and critical findings that stay, each with the first elements that it is about."""
    told: list[str] = []
    for _ in range(4):  # a page that fades something in is measured again
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        told = [
            f"{one['id']} ({one['impact']}): {one['help']}: "
            + "; ".join(node["html"][:160] for node in one["nodes"][:4])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        if not told:
            break
        page.wait_for_timeout(1000)
    return told


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [page.path for page in PAGES], ids=[page.title for page in PAGES])
def test_no_page_has_a_serious_finding(site: SimpleNamespace, path: str, scheme: str) -> None:
    page = opened(site, path, scheme)
    try:
        assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    finally:
        page.close()


def test_the_scrubber_and_the_lineage_of_one_version_have_none_either(site: SimpleNamespace) -> None:
    page = opened(site, "?rollout=demo/imagine/r-false&f=5", "light")
    page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=20_000)
    assert findings(page) == []
    page.close()
