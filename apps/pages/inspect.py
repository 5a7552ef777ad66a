"""Page Inspect: a gallery of rollouts with filters; one of them in the scrubber, its evidence beside it.

The page's own module (apps/assets/inspect.js) draws gallery and evidence and asks for what it needs through one
server function; opening an item goes through Gradio's events, as the scrubber is a component of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from fastapi import APIRouter, Response

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.scrubber_host import scrubber_html, scrubber_value
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue
from workbench.catalogue.opening import desk_of, evidence_of
from workbench.catalogue.query import ORDERS, QueryError, parse_query
from workbench.catalogue.saved_filters import SavedFilters
from workbench.catalogue.strips import MIME, Strips
from workbench.review.labelling import Labelling
from workbench.scrubber.desk import SpanDesk
from workbench.server.roles import Role
from workbench.store.items import REAL, Item
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

log = logging.getLogger("wovr.app.inspect")

PREFIX = "/wovr/inspect"
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_ON_LOAD = """
const events = ['show'];
const emit = (name, data) => { if (events.includes(name)) trigger(name, data); };
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ element, props, watch, emit, ask: (query) => server.gallery(query),
    saved: (message) => server.saved_filters(message) }))
  .catch((error) => { element.textContent = 'The page could not be loaded: ' + error.message; });
"""


def build(services: Services) -> PageParts:
    """The page's components, inside the Blocks around it."""
    catalogue, packs, payloads = services.catalogue, services.packs, services.payloads

    def desk_for(item: Item, request: Any) -> SpanDesk:
        user, everyone = services.user_of(request), desk_of(catalogue, item)
        spans = everyone.store
        if item.kind != REAL:  # what two label blind is blind here too
            annotations = catalogue.annotations(item)
            spans = Labelling(services.queue).spans_of(user, item.id, spans, annotations.log)
        return replace(everyone, store=spans, can_edit=user.may(Role.ANNOTATOR))

    def desk(item_id: str, request: Any) -> SpanDesk | None:
        item = catalogue.find(item_id)
        return None if item is None or item.broken else desk_for(item, request)

    def gallery(query: Any) -> dict[str, Any]:
        """One page of the gallery, as the module asks for it; an error is part of the answer."""
        try:
            return gallery_page(catalogue, query)
        except QueryError as error:
            return {"error": str(error)}

    kept = saved_of(catalogue)

    def saved_filters(message: Any, request: gr.Request) -> dict[str, Any]:
        """The user's own named filters; changes one of them where asked to. An error is part of the answer."""
        try:
            user = services.user_of(request)
            user.require(Role.VIEWER, "save filters")
            return change_saved(kept, user.name, message)
        except (WovrError, OSError) as error:
            return {"error": str(error)}

    def opened(item_id: object, order: Sequence[str], request: Any) -> tuple[Any, Any]:
        """(scrubber's value, evidence) of an item; of what cannot be opened, an evidence that says why."""
        item = catalogue.find(item_id) if isinstance(item_id, str) else None
        if item is None:
            return None, {"id": _short(item_id), "error": "There is no such rollout here.", "missing": True}
        try:
            payload = payloads.get(item)
            place = {"item": order.index(item.id), "items": len(order)} if item.id in order else {}
            value = scrubber_value(payload.with_meta(**place), desk_for(item, request), packs)
            return value, evidence_of(item)
        except (WovrError, OSError) as error:
            log.warning("%s cannot be opened: %s", item.id, error)
            catalogue.look_again()  # its file has changed since it was listed
            return None, {"id": item.id, "error": str(error)}

    def show(event: gr.EventData, request: gr.Request) -> tuple[Any, Any, list[str]]:
        data = event._data if isinstance(event._data, Mapping) else {}
        try:
            order = found_ids(catalogue, data.get("query"))
        except QueryError:
            order = []
        value, evidence = opened(data.get("id"), order, request)
        return value, evidence, order

    def step(event: gr.EventData, order: list[str], request: gr.Request) -> tuple[Any, Any]:
        data = event._data if isinstance(event._data, Mapping) else {}
        here, by = data.get("rollout"), data.get("step")
        if here not in order or by not in (-1, 1) or not 0 <= order.index(here) + by < len(order):
            return gr.skip(), gr.skip()
        return opened(order[order.index(here) + by], order, request)

    order_state = gr.State([])
    with gr.Row(elem_id="wovr-inspect", equal_height=False):
        browser = gr.HTML(
            html_template='<div class="wovr-page wovr-inspect"></div>',
            css_template="",
            js_on_load=_ON_LOAD,
            apply_default_css=False,
            server_functions=[gallery, saved_filters],
            module_url=asset_url("inspect.js"),
            pictures=f"{PREFIX}/strips/",
            elem_id="wovr-browser",
        )
        scrubber = scrubber_html(desk, lambda request: services.user_of(request).name, elem_id="wovr-scrubber")
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    browser.show(show, outputs=[scrubber, browser, order_state], **quiet)
    scrubber.navigate(step, inputs=order_state, outputs=[scrubber, browser], **quiet)
    style = f'<link rel="stylesheet" href="{asset_url("inspect.css")}">'
    return PageParts(_router(catalogue, services.strips), style)


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


def saved_of(catalogue: Catalogue) -> SavedFilters:
    """Beside the runs where a folder of them was given, else under WOVR_HOME."""
    runs = catalogue.config.runs
    return SavedFilters(None if runs is None else runs / ".saved_filters.json")


def change_saved(kept: SavedFilters, user: str, message: object) -> dict[str, Any]:
    """{filters} of this user after what the message asks for. Raises WovrError."""
    asked = message if isinstance(message, Mapping) else {}
    match asked.get("do"):
        case "list":
            pass
        case "save":
            kept.save(user, asked.get("name"), asked.get("query"))
        case "rename":
            kept.rename(user, asked.get("name"), asked.get("to"))
        case "delete":
            kept.delete(user, asked.get("name"))
        case other:
            raise QueryError(f"saved filters can be listed, saved, renamed and deleted, not {_short(other)!r}")
    return {"filters": kept.of(user)}


def found_ids(catalogue: Catalogue, query: object) -> list[str]:
    """Ids of everything that a query finds, in order. Raises QueryError."""
    return catalogue.ids(parse_query(query))


def _router(catalogue: Catalogue, strips: Strips) -> APIRouter:
    router = APIRouter()

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


def _short(value: object) -> str:
    return str(value)[:200]
