"""Renders the pictures of the README: the report, every page of the app (light and dark) and the first notebook.

python tools/screenshots.py [--run NAME] [--out docs/images] [--only strip,report,inspect,pages,notebook]
                            [--item STAGE/ID] [--frame K] [--span FIRST:LAST:LABEL:NOTE]

The run stays as it is: its files are linked into a temporary folder, and annotations go there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lab_server import jupyterlab
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from small_png import save

from apps.bench.browser import chromium, served
from apps.bench.home import at_home
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig, newest
from workbench.catalogue.opening import desk_of
from workbench.catalogue.query import parse_query
from workbench.store.items import Item
from wovr_core.errors import WovrError
from wovr_core.files import write_bytes
from wovr_core.run_folder import resolve_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
SIZES = ((1280, 720), (1920, 1080))
_PICTURES_THERE = """[...document.images].every(
  (image) => image.complete || image.getBoundingClientRect().top > innerHeight)"""
_RUN_ALL = """async () => {
  const { commands, shell } = window.jupyterapp;
  const pause = () => new Promise((done) => setTimeout(done, 200));
  for (let i = 0; i < 300 && !shell.currentWidget?.context; i++) await pause();
  const panel = shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  for (let i = 0; i < 300 && panel.sessionContext.session?.kernel?.status !== 'idle'; i++) await pause();
  await commands.execute('application:toggle-side-tabbar', { side: 'left' });
  await commands.execute('application:toggle-side-tabbar', { side: 'right' });
  await commands.execute('statusbar:toggle');
  await commands.execute('notebook:run-all-cells');
  for (const cell of panel.content.model.cells)  // the page itself holds the cells in sight only
    for (const output of cell.toJSON().outputs ?? [])
      if (output.output_type === 'error') return `${output.ename}: ${output.evalue}`;
  return null;
}"""
_SEEK = """[...document.querySelectorAll('.jp-OutputArea *')].forEach((node) => {
  const scrubber = node.wovrScrubber;
  if (scrubber) scrubber.seek(Math.floor(scrubber.meta.frames * 0.8));
})"""
_PAGE_THERE = """() => {
  const page = document.querySelector('.wovr-page');
  return page && page.innerText.trim().length > 20 && document.querySelector('.wovr-bar .who b')
    && ![...page.querySelectorAll('.wovr-loading, .ghost')].some((node) => node.offsetParent)
    && [...page.querySelectorAll('img')].every((image) => image.complete || image.loading === 'lazy');
}"""
PARTS = ("strip", "report", "inspect", "pages", "notebook")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--run", help="name or folder of a finished run (default: the newest demo run, else the newest)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", default=",".join(PARTS), help=f"which of {','.join(PARTS)}")
    parser.add_argument("--item", help="STAGE/ID of the rollout in the scrubber (default: the most telling one)")
    parser.add_argument("--frame", type=int, help="frame to show (default: where the difference is greatest)")
    parser.add_argument("--span", help="FIRST:LAST:LABEL:NOTE of an annotation to show")
    options = parser.parse_args()
    try:
        render(options)
    except WovrError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 2
    return 0


def render(options: argparse.Namespace) -> None:
    """All pictures that were asked for. Raises WovrError."""
    run = resolve_run(options.run) if options.run else newest("demo") or newest()
    if run is None or not (run / "run.json").is_file():
        raise WovrError(f"there is no run{f' at {run}' if run else ''}; make one with `wovr demo`")
    parts = options.only.split(",")
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        copy = linked_copy(run, Path(scratch) / "runs")
        if "strip" in parts:
            strip(copy, options.out)
        if "report" in parts:
            report(browser, copy, options.out)
        if "inspect" in parts:
            inspect(browser, copy, options)
        if "pages" in parts:
            pages(browser, copy, options.out)
        if "notebook" in parts:
            notebook(browser, copy, Path(scratch), options.out)


def linked_copy(run: Path, below: Path) -> Path:
    """The run in another place, by hard links where the disk allows them; without its annotations."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    below.mkdir(parents=True)
    ignore = shutil.ignore_patterns("annotations.jsonl", ".lock", "*.tmp")
    return Path(shutil.copytree(run, below / run.name, copy_function=link, ignore=ignore))


def strip(run: Path, out: Path) -> None:
    """Real over imagined, for the three most telling audited rollouts."""
    from workbench.film_strips import png_bytes
    from workbench.report import strip_picture, telling_rows
    from workbench.run_data import RunData

    data = RunData(run)
    pictures = [strip_picture(data, row) for row in telling_rows(data)[:3]]
    gap = np.full((12, pictures[0].shape[1], 3), 255, np.uint8)
    rows = [part for picture in pictures for part in (picture, gap)][:-1]
    write_bytes(out / "film-strip.png", png_bytes(np.concatenate(rows)))


def report(browser: Browser, run: Path, out: Path) -> None:
    """The report's first screen."""
    from workbench.report import write_report

    path = write_report(run)
    for width, height in SIZES:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(path.as_uri())
        page.wait_for_timeout(500)
        save(page, out / f"report-{width}.png")
        page.close()


def inspect(browser: Browser, run: Path, options: argparse.Namespace) -> None:
    """Gallery and scrubber, light and dark."""
    from apps.app import create_app
    from apps.services import Services

    catalogue = Catalogue(CatalogueConfig(runs=run.parent))
    item = chosen(catalogue, options.item)
    frame = options.frame if options.frame is not None else telling_frame(item)
    if options.span:
        annotate(catalogue, item, options.span)
    with served(create_app(Services(catalogue))) as url:
        for width, height in SIZES:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(url)
                page.locator(".wovr-page[data-state=ready] .wovr-grid:not(.stale)").wait_for()
                page.wait_for_function(_PICTURES_THERE)
                page.wait_for_timeout(300)
                save(page, options.out / f"inspect-gallery-{scheme}-{width}.png")
                page.goto(f"{url}/?rollout={item.id}&f={frame}" + ("&span=shown" if options.span else ""))
                page.locator(".scrubber-root[data-state=ready]").wait_for()
                page.wait_for_timeout(400)
                save(page, options.out / f"inspect-scrubber-{scheme}-{width}.png")
                page.close()


def pages(browser: Browser, run: Path, out: Path) -> None:
    """Every page but Inspect, which has pictures of its own: as it opens, light and dark."""
    from apps.app import create_app
    from apps.pages import PAGES
    from apps.services import Services

    catalogue = Catalogue(CatalogueConfig(patience=600.0))
    with at_home(run.parent.parent), served(create_app(Services(catalogue))) as url:
        catalogue.run_ids()  # no page is to be seen while the run is still being read
        for page_info in PAGES[1:]:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
                page.goto(f"{url}/{page_info.path}")
                with contextlib.suppress(PlaywrightTimeout):  # a page that goes on loading is shown as it is
                    page.wait_for_function(_PAGE_THERE, timeout=30_000)
                page.wait_for_timeout(2500)  # curves are drawn, frames decoded
                save(page, out / f"{page_info.path}-{scheme}-1280.png")
                page.close()


def chosen(catalogue: Catalogue, named: str | None) -> Item:
    """The item of this stage and id, or the most telling one. Raises WovrError."""
    if named:
        found = [item for item in catalogue.items() if f"{item.stage}/{item.name}" == named]
    else:
        found = list(catalogue.answer(parse_query({})).items)
    if not found:
        raise WovrError(f"the run has no rollout {named or 'at all'}")
    return found[0]


def telling_frame(item: Item) -> int:
    """Where imagined and real frames differ most; of an item without an audit the middle."""
    if item.audit is None:
        return item.length // 2
    return item.audit.peak_frame


def annotate(catalogue: Catalogue, item: Item, text: str) -> None:
    """Puts one annotation on the item (in the temporary copy). Raises WovrError."""
    first, last, label, note = text.split(":", 3)
    span = {"id": "shown", "start": int(first), "end": int(last), "label": label, "severity": 2, "note": note}
    edit = {"event": "shown", "rollout": item.id, "op": "put", "version": 1, "span": span}
    answered = desk_of(catalogue, item).handle(edit, "annotator")
    if not answered["ok"]:
        raise WovrError(f"--span {text}: {answered['error']}")


def notebook(browser: Browser, run: Path, scratch: Path, out: Path) -> None:
    """The first notebook in JupyterLab, executed, at its first scrubber."""
    work = scratch / "notebook"
    work.mkdir()
    shutil.copy(ROOT / "notebooks" / "00_first_look.ipynb", work)
    with jupyterlab(work, scratch / "jupyter", {"WOVR_RUN": str(run)}) as (url, token):
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{url}/doc/tree/00_first_look.ipynb?token={token}")
        page.wait_for_function("window.jupyterapp?.commands.hasCommand('notebook:run-all-cells')", timeout=90_000)
        page.add_style_tag(content=".Toastify { display: none !important; }")  # JupyterLab asks about news
        error = page.evaluate(_RUN_ALL)
        if error:
            raise WovrError(f"a cell of the notebook failed: {error}")
        page.evaluate(_SEEK)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(600)
            for name, heading in (
                ("curves", "How the training went"),
                ("scrubber", "Imagined beside real"),
                ("branch", "What if?"),
            ):
                page.locator(".jp-RenderedMarkdown h2", has_text=heading).evaluate("(node) => node.scrollIntoView()")
                page.wait_for_timeout(900)
                save(page, out / f"notebook-{name}-{width}.png")
        page.close()


if __name__ == "__main__":
    sys.exit(main())
