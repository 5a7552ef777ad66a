"""Gallery, Launch and JobWatch in JupyterLab with a real kernel, in real Chromium: one notebook, three lines each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("anywidget")
pytest.importorskip("jupyterlab")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from apps.bench.browser import chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("jupyter"),
]
SLOW = 90_000
GALLERY = """\
from workbench.widgets import Gallery
gallery = Gallery("runs", kind="audited")
gallery"""
LAUNCH = """\
import os, sys
os.environ["WOVR_HOME"] = os.path.abspath("home")
from workbench.jobs.kinds import JobKind, register_kind
say = lambda spec: [sys.executable, "-c", "print('hello from <b>the job</b>')"]
register_kind(JobKind("pretend", "pretends", say, recipe=True))
from workbench.widgets import JobWatch, Launch
launch = Launch("smoke", "pretend", "mine", {"sft.steps": 7})
launch"""


def test_gallery_scrubber_launch_and_watch(lab: SimpleNamespace, make_run: Callable[..., Path]) -> None:
    make_run(lab.work / "runs", "a")
    address = lab.write("work.ipynb", GALLERY, LAUNCH, "JobWatch(launch.job)")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(state="attached", timeout=SLOW)

        lab.run_cell(page, 0)
        page.locator(".wovr-gallery-widget[data-state=ready]").wait_for(timeout=SLOW)
        expect(page.locator(".tile")).to_have_count(4)
        widths = "[...document.querySelectorAll('.tile img')].map((image) => image.naturalWidth)"
        page.wait_for_function(f"{widths}.length === 4 && {widths}.every((width) => width > 300)")
        page.locator(".wovr-gallery-widget select[data-facet=verdict]").select_option("false_success")
        expect(page.locator(".tile")).to_have_count(1)
        page.locator(".tile").click()
        page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=SLOW)
        expect(page.locator(".scrubber-root .title")).to_have_text("r-false")
        expect(page.locator(".tile")).to_have_attribute("aria-pressed", "true")

        lab.run_cell(page, 1)
        page.locator(".wovr-launch[data-ready=yes]").wait_for(timeout=SLOW)
        expect(page.locator("[data-field='changes.sft.steps']")).to_have_value("7")
        page.get_by_role("button", name="Launch", exact=True).click()
        done = page.locator(".wovr-widget .wovr-job[data-state=succeeded]")
        done.wait_for(timeout=SLOW)
        expect(done.locator(".wovr-log")).to_contain_text("hello from <b>the job</b>")
        lab.run_cell(page, 2)
        expect(done).to_have_count(2, timeout=SLOW)
        assert problems == []
