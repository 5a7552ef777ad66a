"""Page Train: launch a stage or the whole pipeline from a recipe, and watch, cancel and resume jobs."""

from __future__ import annotations

from apps.pages import PageParts
from apps.pages.component import page_html
from apps.pages.forms import launch_desk, launch_head, launch_router, launch_url
from apps.plotly_asset import plotly_url
from apps.services import Services


def build(services: Services) -> PageParts:
    """The page over the app's jobs. Who may launch is decided by workbench.launching.launcher at each question."""
    desk = launch_desk(services)
    page_html("train", services, desk.handle, launch_url=launch_url(".js"), plotly_url=plotly_url())
    return PageParts(router=launch_router(), head=launch_head())
