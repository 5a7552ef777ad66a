"""Page Evaluate: real trials of any policy checkpoint of a run, and what all evaluations came to, start by start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter

from apps.pages import PageParts
from apps.pages.component import page_html
from apps.pages.forms import launch_head, launch_url
from apps.services import Services
from workbench.catalogue.catalogue import find_runs
from workbench.launching.evaluation_desk import EvaluationDesk
from workbench.launching.launcher import Launcher


def build(services: Services) -> PageParts:
    """The page. Who may launch is decided by workbench.launching.launcher at each question."""
    desk = EvaluationDesk(Launcher(services.jobs), lambda: runs_of(services))
    page_html("evaluate", services, desk.handle, launch_url=launch_url(".js"))
    return PageParts(router=APIRouter(), head=launch_head())


def runs_of(services: Services) -> Mapping[str, Path]:
    """Name -> folder of every run that the app shows, the newest first."""
    return {name: path for path, name in find_runs(services.catalogue.config)[0].items()}
