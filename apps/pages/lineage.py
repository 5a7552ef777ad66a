"""Page Lineage: which data, world model and reward each policy was made with, over all runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.pages.component import page_html
from apps.plotly_asset import plotly_url
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue
from workbench.pace_plot import ledger_json
from workbench.server.roles import Role, User
from workbench.store.tables import Run
from workbench.version_graph import runs_with_lineage, version_graph
from wovr_core.coevolution.autopilot import Ledger
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import wovr_home

log = logging.getLogger("wovr.app.lineage")


def build(services: Services) -> PageParts:
    """The page's components, inside the Blocks around it."""

    def answer(message: object, user: User) -> dict[str, Any]:
        """The graph of one run, or of all."""
        user.require(Role.VIEWER, "look at the lineage")
        return lineage_page(services.catalogue, message)

    page_html("lineage", services, answer, plotly_url=plotly_url())
    return PageParts(APIRouter(), f'<link rel="stylesheet" href="{asset_url("lineage.css")}">')


def lineage_page(catalogue: Catalogue, message: object) -> dict[str, Any]:
    """{runs, run, graph, pilot, home}; `message` may name a run: "" for all, none for the newest. Raises WovrError.

    pilot is `ledger_json` of the run's autopilot, {error} where its ledger cannot be read, None where there is none.
    """
    asked = message.get("run") if isinstance(message, Mapping) else None
    if asked is not None and (not isinstance(asked, str) or len(asked) > 300):
        raise WovrError("the run must be a name")
    if isinstance(message, Mapping) and message.get("again") is True:
        catalogue.look_again()
    shown = catalogue.run_ids()
    with catalogue.store.read() as session:
        runs = runs_with_lineage(session, shown)
        if asked and asked not in runs:
            raise UnknownNameError("run", asked[:80], runs)
        run = (asked if asked is not None else runs[0]) if runs else ""
        graph = version_graph(session, shown, run or None)
        folder = session.scalar(select(Run.path).where(Run.key == run))
    return {
        "runs": runs,
        "run": run,
        "graph": graph.to_json(),
        "pilot": None if folder is None else _pilot(Path(folder)),
        "home": str(catalogue.config.runs or wovr_home() / "runs"),
    }


def _pilot(run: Path) -> dict[str, Any] | None:
    from wovr_core.pace_loop import LEDGER  # brings torch

    try:
        entries = Ledger(run / LEDGER).entries()
        return ledger_json(entries) if entries else None
    except (WovrError, OSError) as error:
        return {"error": str(error)}
