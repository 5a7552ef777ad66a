"""Page Lineage in real Chromium: the graph and the list tell the same, the keyboard walks it, links lead to Inspect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

from apps.app import create_app
from apps.bench.browser import chromium, chromium_path, served
from apps.pages.lineage import lineage_page
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips
from wovr_core.errors import WovrError

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium; apt-get install chromium"),
]
XSS = "<img src=x onerror=window.__xss=1>"


def checkpoint(run: Path, stage: str, kind: str, version: str, **lineage: str) -> None:
    folder = run / stage / kind
    folder.mkdir(parents=True)
    manifest = {"kind": kind, "version": version, "lineage": lineage, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(chrome: Any, tmp_path: Path, make_run: Callable[..., Path]) -> Iterator[SimpleNamespace]:
    run = make_run(tmp_path / "runs", XSS)
    checkpoint(run, "sft", "policy", "p0", demonstrations="e0")
    checkpoint(run, "world_model", "world_model", "w1", episodes="e0")
    checkpoint(run, "rl", "policy", "p1", parent="p0", world_model="w1")
    catalogue = Catalogue(CatalogueConfig(runs=tmp_path / "runs"))
    app = create_app(Services(catalogue, strips=Strips(tmp_path / "cache")))
    with served(app) as url:
        page = chrome.new_page(viewport={"width": 1280, "height": 720})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield SimpleNamespace(page=page, url=url, catalogue=catalogue)
        assert errors == []
        assert page.evaluate("window.__xss") is None
        page.close()


def at(site: SimpleNamespace, path: str) -> Page:
    site.page.goto(site.url + path)
    site.page.locator(".wovr-lineage[data-state]").wait_for(timeout=20_000)
    return site.page


def test_the_list_walks_by_keyboard_and_the_address_keeps_it(site: SimpleNamespace) -> None:
    page = at(site, "/lineage")
    expect(page.locator(".version[aria-current=true]")).to_contain_text("round 1 · p1")
    page.locator(".plot .scatterlayer").wait_for(timeout=30_000)
    assert page.locator(".plot .scatterlayer .points path").count() == 4
    page.locator(".list .version[aria-current=true]").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".version[aria-current=true]")).to_contain_text("first · w1")
    assert "version=world_model%3Aw1" in page.url
    expect(page.locator(".told")).to_contain_text("1 of 2 audited imagined successes were false")
    page.keyboard.press("Home")
    expect(page.locator(".told h2")).to_have_text("base · p0")
    page.reload()
    expect(page.locator(".told h2")).to_have_text("base · p0", timeout=20_000)
    page.locator(".told .version", has_text="round 1").click()
    expect(page.locator(".told h2")).to_have_text("round 1 · p1")
    page.locator("select[aria-label=run]").select_option("")
    expect(page.locator(".told h2")).to_have_text("round 1 · p1")
    assert "run=&" in page.url or page.url.endswith("run=")


def test_links_lead_into_inspect(site: SimpleNamespace) -> None:
    page = at(site, "/lineage?version=world_model:w1")
    page.locator(".told a", has_text="Its false successes").click()
    expect(page.locator(".wovr-inspect .wovr-card")).to_have_count(1, timeout=20_000)
    assert page.locator(".wovr-card").get_attribute("data-id") == f"{XSS}/imagine/r-false"


def test_a_run_that_is_none_and_a_version_that_is_none(site: SimpleNamespace) -> None:
    page = at(site, "/lineage?run=nothing")
    expect(page.locator(".wovr-lineage[data-state=error] .wovr-error")).to_contain_text("unknown run 'nothing'")
    page.locator("button", has_text="Newest run").click()
    expect(page.locator(".wovr-lineage[data-state=ready] .told h2")).to_have_text("round 1 · p1", timeout=20_000)
    page = at(site, "/lineage?version=policy:gone")
    expect(page.locator(".told h2")).to_have_text("round 1 · p1", timeout=20_000)


@pytest.mark.security
@pytest.mark.parametrize("run", ["../..", "x" * 301, 7, ["a"]])
def test_messages_that_are_none_are_refused(tmp_path: Path, make_run: Callable[..., Path], run: object) -> None:
    make_run(tmp_path, "a")
    with pytest.raises(WovrError):
        lineage_page(Catalogue(CatalogueConfig(runs=tmp_path)), {"run": run})
