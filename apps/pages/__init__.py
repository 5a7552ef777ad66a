"""Pages of the app, one module each: `build(services)` adds the page's components to the Blocks around it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wovr_core import plugins

if TYPE_CHECKING:
    from fastapi import APIRouter


@dataclass(frozen=True)
class PageParts:
    """What a page has beside its components."""

    router: APIRouter
    """The routes that feed it: its assets, pictures, files by id."""
    head: str
    """For the document's <head>: its style sheet."""


@dataclass(frozen=True)
class PageInfo:
    """A page in the navigation, in order."""

    path: str
    """Behind the app's root; empty for the first page."""
    title: str
    module: str
    """Imported when the app is made: it holds `build(services: Services) -> PageParts`."""
    help: str
    """One line: what it is for."""


PAGES: tuple[PageInfo, ...] = (
    PageInfo("", "Inspect", "apps.pages.inspect", "Find rollouts and scrub imagined against real"),
    PageInfo("review", "Review", "apps.pages.review", "Label rollouts one after another, the most telling first"),
    PageInfo("branch", "Branch", "apps.pages.branch", "Change a chunk of actions, imagine on, and replay it for real"),
    PageInfo("compare", "Compare", "apps.pages.compare", "Two policies or world models on the same starts, as pairs"),
    PageInfo("train", "Train", "apps.pages.train", "Launch stages from a recipe; watch, cancel and resume jobs"),
    PageInfo("evaluate", "Evaluate", "apps.pages.evaluate", "Real trials of any policy, start by start"),
    PageInfo("lineage", "Lineage", "apps.pages.lineage", "What each policy, world model and reward was made from"),
    PageInfo("robot", "Robot", "apps.pages.robot", "Arm a robot, run blinded evaluations, label and report"),
    PageInfo("teach", "Teach", "apps.pages.teach", "A guided tour for a class, from imagined pictures to PACE"),
)


def all_pages() -> tuple[PageInfo, ...]:
    """PAGES, then those of plug-ins; one that does not load is told of in the log and left out."""
    found = list(PAGES)
    for info in plugins.installed(plugins.PAGES):
        try:
            page = info.load(PageInfo)
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", page.path) or page.path in {p.path for p in found}:
                raise plugins.PluginError(f"{info}: its path {page.path!r} is taken, or no word of a-z, 0-9 and -")
            found.append(page)
        except plugins.PluginError as error:
            logging.getLogger("wovr.app").warning("%s; the app goes on without it", error)
    return tuple(found)
