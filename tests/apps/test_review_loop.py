"""The loop closed by hand in Chromium: a flag, a correction version, a job, and the rollout imagined again."""

from __future__ import annotations

import shutil
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
from wovr_core.data.corrections import CorrectionSet
from wovr_core.files import read_json, write_json

WAIT = 60_000
JOB = 600_000


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(1500)
def test_from_a_flag_to_the_rollout_imagined_again(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    run = tmp_path / "runs" / "loop"
    shutil.copytree(smoke_run, run)
    shutil.rmtree(run / "rl" / "rollouts", ignore_errors=True)  # the queue then offers audited rollouts alone
    shutil.rmtree(run / "rl_evolved" / "rollouts", ignore_errors=True)
    told = read_json(run / "run.json")
    told["config"]["refine"]["transformer"] |= {"steps": 12, "learning_rate": 5e-3}  # so that a difference shows
    write_json(run / "run.json", told)
    before = (run / "refine" / "outputs.json").read_bytes()
    services = Services(Catalogue(CatalogueConfig(seconds=0.0, patience=60.0)))
    with served(create_app(services)) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/review")
        host = page.locator(".wovr-review")
        expect(host).to_have_attribute("data-state", "ready", timeout=WAIT)
        page.locator("section .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
        item = host.get_attribute("data-item") or ""
        for key in ("ArrowRight", "ArrowRight", "i", "ArrowRight", "ArrowRight", "ArrowRight", "o", "4", "Enter"):
            page.keyboard.press(key)
        expect(host).not_to_have_attribute("data-item", item, timeout=WAIT)
        rollout = item.rsplit("/", 1)[1]
        assert [(s.start, s.end, s.label) for s in SpanLog(run / LOG_NAME).spans(rollout)] == [(2, 5, "teleports")]

        page.locator("[data-view=loop]").click()
        expect(page.locator(".review-other")).to_contain_text("1 flagged span: 1 by ", timeout=WAIT)
        page.locator("[data-do=correct]").click()
        expect(host).to_have_attribute("data-versions", "1", timeout=WAIT)
        card = page.locator(".version")
        version = card.get_attribute("data-version") or ""
        made = CorrectionSet(run / "corrections" / version)
        assert [(c.rollout, c.masked_from) for c in made.corrections] == [(rollout, 2)]

        page.locator("[data-do=retrain]").click()
        page.reload()  # a job and this view survive a refresh
        expect(card).to_have_attribute("data-state", "trained", timeout=JOB)
        stage = run / f"refine_{version}"
        assert read_json(stage / "outputs.json")["outputs"]["corrections"] == version
        assert read_json(stage / "world_model" / "manifest.json")["lineage"]["corrections"] == version
        assert (run / "refine" / "outputs.json").read_bytes() == before, "nothing that was there is changed"

        page.locator(f"[data-again='{rollout}']").click()
        expect(host).to_have_attribute("data-again", rollout, timeout=WAIT)
        page.locator(".again .scrubber-root[data-state=ready]").wait_for(timeout=WAIT)
        captions = page.locator(".again .pane .cap b").all_text_contents()
        assert captions == ["imagined before", "imagined after", "|after - before|"]
        curves = page.evaluate(
            "document.querySelector('.again .wovr-scrubber').firstElementChild.wovrScrubber.meta.curves"
        )
        values = {curve["title"]: curve["values"] for curve in curves}
        assert values["after - before"][0] == 0, "both start from the same frame"
        assert max(values["after - before"]) > 0, "the new world model imagines otherwise"
        assert {"before - real", "after - real", "p success, before", "p success, after"} <= values.keys()
        assert problems == []
