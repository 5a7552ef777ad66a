"""The gallery at 10,000 rollouts beside one at 100: how soon its first page stands there, and the memory that takes."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from apps.bench import Row, row
from apps.bench.browser import chromium, served
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips
from workbench.scrubber.sample import numbered_rollout
from wovr_core.data.episode_files import write_rollout
from wovr_core.files import write_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_READY = ".wovr-page[data-state=ready] .wovr-grid:not(.stale) .wovr-card:not(.ghost)"
_PICTURES = """() => [...document.querySelectorAll('.wovr-film img')]
  .filter((image) => image.getBoundingClientRect().top < innerHeight).every((image) => image.complete)"""
FEW = 100


def run(rollouts: int = 10_000) -> list[Row]:
    """Rows: first page, next page, filter and deep link in Chromium (s); memory of server and page (MB).

    The baseline is the same with 100 rollouts. The run folder is made for it, of small drawn rollouts.
    """
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder,
        chromium() as browser,
    ):
        few = _measure(Path(folder) / "few", FEW, browser)
        many = _measure(Path(folder) / "many", rollouts, browser)
    units = {name: "MB" if name.startswith("memory") else "s" for name in many}
    return [row(f"{name}, {rollouts:,} rollouts", value, units[name], few[name]) for name, value in many.items()]


def _measure(folder: Path, rollouts: int, browser: Browser) -> dict[str, float]:
    import psutil

    from apps.app import create_app
    from apps.services import Services

    runs = folder / "runs"
    _make(runs / "many", rollouts)
    catalogue = Catalogue(CatalogueConfig(runs=runs, patience=3600.0))
    begun = time.perf_counter()
    catalogue.run_ids()
    found = {"reading all files into the store, once": time.perf_counter() - begun}
    process = psutil.Process()
    before = process.memory_info().rss
    with served(create_app(Services(catalogue, strips=Strips(folder / "cache")))) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{url}/lineage")  # the browser's cache holds the app's own files, as on any but the first visit
        page.locator(".wovr-bar .who b").wait_for(timeout=60_000)
        page.goto("about:blank")

        def until(what: str) -> float:
            began = time.perf_counter()
            page.locator(what).first.wait_for(timeout=120_000)
            page.wait_for_function(_PICTURES, timeout=120_000)
            return time.perf_counter() - began

        begun = time.perf_counter()
        page.goto(url)
        until(_READY)
        found["first page with its pictures"] = time.perf_counter() - begun
        begun = time.perf_counter()
        page.locator("[data-filter='task=sample/1']").click()
        page.wait_for_url("**task=**")
        until(_READY)
        found["a filter"] = time.perf_counter() - begun
        begun = time.perf_counter()
        page.locator(".wovr-pages button").last.click()
        page.wait_for_url("**page=2**")
        until(_READY)
        found["the next page with its pictures"] = time.perf_counter() - begun
        begun = time.perf_counter()
        page.goto(f"{url}/?rollout=many/rl/r{rollouts - 1:05d}&f=9")
        page.locator(".scrubber-root[data-state=ready][data-frame='9']").wait_for(timeout=120_000)
        found["a deep link to one frame"] = time.perf_counter() - begun
        found["memory that serving took"] = max(0.0, process.memory_info().rss - before) / 1e6
        session = page.context.new_cdp_session(page)
        found["memory of the page's scripts"] = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        page.close()
    catalogue.close()
    return found


def _make(run: Path, rollouts: int) -> None:
    """A run of so many rollouts, of three tasks."""
    pattern, _ = numbered_rollout(2, 32)
    for i in range(rollouts):
        task = replace(pattern.task, task=i % 3)
        write_rollout(run / "rl" / "rollouts", replace(pattern, id=f"r{i:05d}", group_id=f"g{i // 8}", task=task))
    write_json(run / "rl" / "outputs.json", {"outputs": {}, "seconds": 1.0})
    write_json(run / "run.json", {"schema": 1, "recipe": "cpu", "config": {"name": "cpu"}, "wovr": "0", "machine": {}})
