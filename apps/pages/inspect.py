"""Page Inspect: a gallery of rollouts with filters; one of them in the scrubber, its evidence beside it.

The page's own module (apps/assets/inspect.js) draws gallery and evidence and asks for what it needs through one
server function; opening an item goes through Gradio's events, as the scrubber is a component of its own.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import APIRouter, Response

from apps.scrubber_host import PackStore, asset_router, scrubber_html, scrubber_value
from workbench.catalogue.catalogue import Catalogue
from workbench.catalogue.opening import desk_of, evidence_of
from workbench.catalogue.payloads import Payloads
from workbench.catalogue.query import ORDERS, QueryError, parse_query
from workbench.catalogue.strips import MIME, Strips
from workbench.scrubber.desk import SpanDesk
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

log = logging.getLogger("wovr.app.inspect")

PREFIX = "/wovr/inspect"
ASSETS = Path(__file__).parents[1] / "assets"
_ASSET_TYPES = {"js": "text/javascript", "css": "text/css"}
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_ON_LOAD = """
const events = ['show'];
const emit = (name, data) => { if (events.includes(name)) trigger(name, data); };
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ element, props, watch, emit, ask: (query) => server.gallery(query) }))
  .catch((error) => { element.textContent = 'The page could not be loaded: ' + error.message; });
"""


@dataclass(frozen=True)
class Page:
    """The page's components, and the routes that feed them."""

    blocks: gr.Blocks
    router: APIRouter
    head: str
    """For the page's <head>: its style sheet. (Gradio's own `css` puts every rule below its container.)"""


def build(catalogue: Catalogue, strips: Strips | None = None) -> Page:
    """The page over a catalogue."""
    packs, payloads, strips = PackStore(), Payloads(), strips or Strips()

    def desk(item_id: str, _: object) -> SpanDesk | None:
        item = catalogue.find(item_id)
        return None if item is None or item.broken else desk_of(catalogue, item)

    def gallery(query: Any) -> dict[str, Any]:
        """One page of the gallery, as the module asks for it; an error is part of the answer."""
        try:
            return gallery_page(catalogue, query)
        except QueryError as error:
            return {"error": str(error)}

    def opened(item_id: object, order: Sequence[str]) -> tuple[Any, Any]:
        """(scrubber's value, evidence) of an item; of what cannot be opened, an evidence that says why."""
        item = catalogue.find(item_id) if isinstance(item_id, str) else None
        if item is None:
            return None, {"id": _short(item_id), "error": "There is no such rollout here.", "missing": True}
        try:
            payload = payloads.get(item)
            place = {"item": order.index(item.id), "items": len(order)} if item.id in order else {}
            value = scrubber_value(payload.with_meta(**place), desk_of(catalogue, item), packs)
            return value, evidence_of(item)
        except (WovrError, OSError) as error:
            log.warning("%s cannot be opened: %s", item.id, error)
            catalogue.look_again()  # its file has changed since it was listed
            return None, {"id": item.id, "error": str(error)}

    def show(event: gr.EventData) -> tuple[Any, Any, list[str]]:
        data = event._data if isinstance(event._data, Mapping) else {}
        try:
            order = found_ids(catalogue, data.get("query"))
        except QueryError:
            order = []
        value, evidence = opened(data.get("id"), order)
        return value, evidence, order

    def step(event: gr.EventData, order: list[str]) -> tuple[Any, Any]:
        data = event._data if isinstance(event._data, Mapping) else {}
        here, by = data.get("rollout"), data.get("step")
        if here not in order or by not in (-1, 1) or not 0 <= order.index(here) + by < len(order):
            return gr.skip(), gr.skip()
        return opened(order[order.index(here) + by], order)

    with gr.Blocks(title="WoVR workbench", analytics_enabled=False, fill_width=True) as blocks:
        order_state = gr.State([])
        with gr.Row(elem_id="wovr-inspect", equal_height=False):
            browser = gr.HTML(
                html_template='<div class="wovr-page"></div>',
                css_template="",
                js_on_load=_ON_LOAD,
                apply_default_css=False,
                server_functions=[gallery],
                module_url=f"{PREFIX}/inspect-{_asset('inspect.js')[1]}.js",
                pictures=f"{PREFIX}/strips/",
                elem_id="wovr-browser",
            )
            scrubber = scrubber_html(desk, lambda _: _user(), elem_id="wovr-scrubber")
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        browser.show(show, outputs=[scrubber, browser, order_state], **quiet)
        scrubber.navigate(step, inputs=order_state, outputs=[scrubber, browser], **quiet)
    style = f'<link rel="stylesheet" href="{PREFIX}/inspect-{_asset("inspect.css")[1]}.css">'
    return Page(blocks, _router(catalogue, strips, packs), style)


def gallery_page(catalogue: Catalogue, query: object) -> dict[str, Any]:
    """{cards, facets, total, all, page, pages, orders, problems, home}. Raises QueryError."""
    asked = parse_query(query)
    if isinstance(query, Mapping) and query.get("again") is True:
        catalogue.look_again()
    found = catalogue.answer(asked)
    return {
        "cards": [item.card(found.spans.get(item.id, 0)) for item in found.items],
        "facets": found.facets,
        "flagged": found.flagged,
        "total": found.total,
        "all": found.all,
        "page": found.page,
        "pages": found.pages,
        "orders": [{"key": key, "title": title} for key, title in ORDERS.items()],
        "problems": [{"run": problem.run, "reason": problem.reason} for problem in catalogue.problems()],
        "home": str(catalogue.config.runs or wovr_home() / "runs"),
    }


def found_ids(catalogue: Catalogue, query: object) -> list[str]:
    """Ids of everything that a query finds, in order. Raises QueryError."""
    return catalogue.ids(parse_query(query))


def _router(catalogue: Catalogue, strips: Strips, packs: PackStore) -> APIRouter:
    router = APIRouter()
    router.include_router(asset_router(packs))

    @router.get(PREFIX + "/inspect-{digest}.{kind}")
    def asset(digest: str, kind: str) -> Response:
        if kind not in _ASSET_TYPES:
            return Response("there is no such file", 404, media_type="text/plain")
        text, current = _asset(f"inspect.{kind}")
        headers = _IMMUTABLE if digest == current else {"Cache-Control": "no-store"}
        return Response(text, media_type=_ASSET_TYPES[kind], headers=headers)

    @router.get(PREFIX + "/strips/{stamp}")
    def strip(stamp: str) -> Response:
        item = catalogue.pictured(stamp)  # looked up, never made into a path
        if item is None:
            return Response("there is no such picture", 404, media_type="text/plain")
        try:
            return Response(strips.get(item), media_type=MIME, headers=_IMMUTABLE)
        except (WovrError, OSError) as error:
            log.warning("no picture of %s: %s", item.id, error)
            return Response("this rollout's pictures cannot be read", 404, media_type="text/plain")

    return router


@cache
def _asset(name: str) -> tuple[str, str]:
    text = (ASSETS / name).read_text(encoding="utf-8")
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]


def _short(value: object) -> str:
    return str(value)[:200]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
