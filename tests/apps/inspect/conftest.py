"""An app to look at rollouts in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def site(chrome: Any, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """An app over tmp_path/runs; `visit` opens a page and sees to it that it makes no error and asks no one else."""
    from apps.app import create_app
    from apps.bench.browser import served
    from apps.services import Services
    from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
    from workbench.catalogue.strips import Strips

    runs = tmp_path / "runs"
    catalogue = Catalogue(CatalogueConfig(runs=runs, seconds=0.0, patience=60.0))
    pages: list[Page] = []
    problems: list[str] = []
    with served(create_app(Services(catalogue, strips=Strips(tmp_path / "cache")))) as url:

        def visit(path: str = "/", **options: Any) -> Page:
            page = chrome.new_page(viewport={"width": 1280, "height": 720}, **options)
            pages.append(page)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: _ours(request.url, url, problems))
            page.goto(url + path)
            return page

        yield SimpleNamespace(url=url, runs=runs, visit=visit)
        for page in pages:
            page.close()
    assert problems == []


def _ours(asked: str, url: str, problems: list[str]) -> None:
    if not asked.startswith((url, "data:", "blob:")):
        problems.append(f"asked elsewhere: {asked}")
