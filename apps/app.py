"""The app: its pages in one Gradio application, behind the guard. `apps.serving.serve` runs it."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import gradio as gr
from fastapi import APIRouter, FastAPI

from apps.assets_route import asset_url, assets_router
from apps.gate import Gate, GateConfig, user_of
from apps.guard import Guard, GuardConfig
from apps.login import login_router
from apps.pages import PAGES, PageInfo, PageParts, all_pages
from apps.plotly_asset import plotly_router
from apps.scrubber_host import asset_router
from apps.services import Services
from workbench.server.access import Access

log = logging.getLogger("wovr.app")

TITLE = "WoVR workbench"
QUEUE = 64
"""Events that may wait; one more is refused."""


@dataclass(frozen=True)
class AppSecurity:
    """Who is let in, and by which names."""

    access: Access | None = None
    """Accounts and sessions; without, whoever reaches the app is `services.user_of`: fit for loopback alone."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    gate: GateConfig = field(default_factory=GateConfig)


def create_app(services: Services, security: AppSecurity | None = None) -> FastAPI:
    """The app with everything but a port: one route of Gradio's for each page, and what feeds them."""
    security = security or AppSecurity()
    access = security.access
    if access:
        services = replace(services, user_of=user_of)
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = all_pages()
    blocks, parts = _pages(pages, services)
    for router in (assets_router(), plotly_router(), asset_router(services.packs), login_router(services, access)):
        server.include_router(router)
    for part in parts:
        server.include_router(part.router)
    blocks.vibe_mode = False  # GRADIO_VIBE_MODE would let a page rewrite the program
    blocks.queue(max_size=QUEUE, api_open=False)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="SSR mode"
        )  # it is off below; with several pages Gradio says so again
        _mount(server, blocks, access, _head(pages, parts))
    paths = frozenset(page.path for page in pages)
    server.add_middleware(Gate, access=access, config=security.gate)
    server.add_middleware(Guard, config=replace(security.guard, pages=paths))  # the outermost: added last
    return server


def _mount(server: FastAPI, blocks: gr.Blocks, access: Access | None, head: str) -> None:
    """Gradio at the server's root, with all closed that could be opened from outside."""
    gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        auth_dependency=(lambda request: user_of(request).name) if access else None,
        root_path="",
        allowed_paths=[],
        max_file_size=1,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        theme=_theme(),
        head=head,
    )


def _pages(pages: Sequence[PageInfo], services: Services) -> tuple[gr.Blocks, list[PageParts]]:
    """All pages in one Blocks, each in a route of its own. The first is the root's."""
    blocks = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    parts = []
    for i, page in enumerate(pages):
        if i == 0:
            blocks.pages[0] = (page.path, page.title, False)
            around = blocks
        else:
            around = blocks.route(page.title, page.path, show_in_navbar=False)
        with around:
            parts.append(_build(page, services))
    return blocks, parts


def _build(page: PageInfo, services: Services) -> PageParts:
    try:
        parts: PageParts = importlib.import_module(page.module).build(services)
    except Exception as error:  # a plug-in's page must not take the app with it
        if page in PAGES:
            raise
        log.exception("the page %s (%s) could not be built", page.title, page.module)
        gr.Textbox(f"{page.module}: {type(error).__name__}: {error}", label="This page of a plug-in cannot be shown")
        return PageParts(APIRouter(), "")
    return parts


def _head(pages: Sequence[PageInfo], parts: list[PageParts]) -> str:
    """The document's head: style sheets first, then the bar on top with the list of pages."""
    listed = json.dumps([asdict(page) for page in pages]).replace("<", "\\u003c")
    lines = [
        f'<link rel="stylesheet" href="{asset_url("workbench.css")}">',
        *dict.fromkeys(part.head for part in parts if part.head),
        f'<script type="application/json" id="wovr-pages">{listed}</script>',
        f'<script type="module" src="{asset_url("shell.js")}"></script>',
    ]
    return "\n".join(lines)


def _theme() -> gr.themes.Base:
    """Gradio's plainest theme with fonts of the system: nothing is fetched from elsewhere."""
    sans = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "DejaVu Sans", "sans-serif")
    mono = ("ui-monospace", "DejaVu Sans Mono", "monospace")
    return gr.themes.Base(font=sans, font_mono=mono)
