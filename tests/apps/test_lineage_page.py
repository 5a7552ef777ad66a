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
from apps.bench.browser import served
from apps.pages.lineage import lineage_page
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips
from wovr_core.errors import WovrError

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
]
XSS = "<img src=x onerror=window.__xss=1>"


def checkpoint(run: Path, stage: str, kind: str, version: str, **lineage: str) -> None:
    folder = run / stage / kind
    folder.mkdir(parents=True)
    manifest = {"kind": kind, "version": version, "lineage": lineage, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


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
    expect(page.locator(".list .version", has_text="real episodes")).to_contain_text("collected or imported")
    page.keyboard.press("Home")
    expect(page.locator(".told h2")).to_have_text("base · p0")
    page.reload()
    expect(page.locator(".told h2")).to_have_text("base · p0", timeout=20_000)
    page.locator(".told .version", has_text="round 1").click()
    expect(page.locator(".told h2")).to_have_text("round 1 · p1")
    page.locator("select[aria-label=run]").select_option("")
    expect(page.locator(".told h2")).to_have_text("round 1 · p1")
    assert "run=&" in page.url or page.url.endswith("run=")


def pilot_round(number: int, **changes: Any) -> dict[str, Any]:
    used = {"policy": f"p{number - 1}", "world_model": "w1", "reward": "c1"}
    return {
        "round": number, "practised_with": used, "policy": f"p{number}", "action": "wait", "reason": "drift 0.1",
        "drift": 0.1, "error": None, "candidates": {}, "promoted": {}, "before": {}, "after": {}, "spent": 2,
    } | changes  # fmt: skip


REFINED = pilot_round(
    2, action="refine", reason=XSS, error=7.5, spent=13, candidates={"world_model": "w2", "reward": "c2"},
    promoted={"world_model": True, "reward": False}, before={"world_model_error": 9.0, "reward_log_loss": 0.2},
    after={"world_model_error": 8.0, "reward_log_loss": 0.3},
)  # fmt: skip


def test_the_autopilots_rounds_are_drawn_and_listed(site: SimpleNamespace) -> None:
    run = site.catalogue.config.runs / XSS
    (run / "autopilot.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (pilot_round(1), REFINED)))
    page = at(site, "/lineage")
    rows = page.locator(".pilot tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("world model promoted, reward rolled back")
    expect(rows.nth(1)).to_contain_text(XSS)
    page.locator(".pilot-plot .scatterlayer").wait_for(timeout=30_000)
    assert page.locator(".pilot-plot .scatterlayer .points path").count() == 3 + 2 + 2
    page.locator(".list .version", has_text="base").click()
    page.locator(".pilot button", has_text="p1").click()
    expect(page.locator(".told h2")).to_have_text("round 1 · p1")
    assert page.locator(".pilot button", has_text="p2").count() == 0, "not in this list: nowhere to go"


def test_a_ledger_that_is_none_is_told(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path, "a")
    checkpoint(run, "sft", "policy", "p0", demonstrations="e0")
    catalogue = Catalogue(CatalogueConfig(runs=tmp_path))
    assert lineage_page(catalogue, {})["pilot"] is None
    for text in ("no json", json.dumps({"round": 1})):
        (run / "autopilot.jsonl").write_text(text + "\n")
        assert "ledger" in lineage_page(catalogue, {})["pilot"]["error"]
    (run / "autopilot.jsonl").write_text(json.dumps(REFINED) + "\n")
    found = lineage_page(catalogue, {})["pilot"]
    assert found["rounds"][0]["promoted"] == {"world_model": True, "reward": False}
    assert ["policy", "p2", "world_model", "w2"] in found["links"]
    assert {node["version"] for node in found["nodes"] if not node["kept"]} == {"c2"}
    assert lineage_page(catalogue, {"run": ""})["pilot"] is None


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
