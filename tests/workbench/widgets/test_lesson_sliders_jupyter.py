"""A lesson's sliders in JupyterLab with a real kernel, in real Chromium: turned by keyboard, its plot follows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterlab")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from apps.bench.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.xdist_group("jupyter")]
SLOW = 90_000
LESSON = Path(__file__).parents[3] / "notebooks" / "07_robot_evaluation.ipynb"
SHOWN = "[...document.querySelectorAll('.js-plotly-plot')].map((plot) => JSON.stringify(plot.data.map((t) => t.x)))"


def cell_with(text: str) -> str:
    """The lesson's own cell that holds this."""
    (found,) = [c for c in json.loads(LESSON.read_text())["cells"] if text in "".join(c["source"])]
    return "".join(found["source"])


def test_a_lessons_plot_follows_its_sliders(lab: SimpleNamespace) -> None:
    imports = "import ipywidgets\nfrom workbench import trial_plots\nprint('ready')"
    address = lab.write("lesson.ipynb", imports, cell_with("ipywidgets.interact(show"))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(state="attached", timeout=SLOW)
        lab.run_cell(page, 0)
        lab.run_cell(page, 1)
        page.wait_for_function(f"{SHOWN}.length === 1", timeout=SLOW)
        before = page.evaluate(SHOWN)

        readouts, handles = page.locator(".widget-readout"), page.locator(".noUi-handle")
        expect(readouts).to_have_text(["5", "5"])
        handles.nth(1).focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        expect(readouts).to_have_text(["5", "8"])
        page.wait_for_function(f"{SHOWN}.length === 1 && {SHOWN}[0] !== {json.dumps(before[0])}", timeout=SLOW)
        assert problems == []
