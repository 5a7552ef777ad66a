"""The scrubber inside a Gradio app: a gr.HTML around the ES module, and the routes that feed it.

    packs = PackStore()
    server.include_router(asset_router(packs, dependencies=[Depends(require_login)]))   # server: FastAPI
    with gr.Blocks() as page:
        scrubber = scrubber_html(desk_of, author_of)
        scrubber.navigate(load_next, inputs=..., outputs=scrubber)       # events: navigate, branch, open, saved
        button.click(lambda: scrubber_value(payload, desk, packs), outputs=scrubber)
    gr.mount_gradio_app(server, page, path="/")

Packs travel over a static route, by content hash: the browser keeps them, and Gradio never serialises them. As
base64 inside `value` they would be a third larger, and Gradio compares `value` as JSON text at every change.
The template is constant and holds no `${...}`, which Gradio would execute; texts reach the page as text only.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gradio as gr
from fastapi import APIRouter, Response
from starlette.requests import Request

from workbench.scrubber import MODULE_PATH
from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.frame_packs import FramePack
from workbench.scrubber.payload import Payload
from workbench.scrubber.span_log import MemorySpans

log = logging.getLogger("wovr.app.scrubber")

PREFIX = "/wovr/scrubber"
_TEMPLATE = '<div class="wovr-scrubber"></div>'
# The names stand quoted, because Gradio offers a listener (scrubber.navigate(...)) for quoted names only.
_ON_LOAD = """
const events = ['navigate', 'branch', 'open', 'saved'];
const emit = (name, data) => { if (events.includes(name)) trigger(name, data); };
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mountGradio({
    element, props, watch, trigger: emit, call: (edit) => server.scrubber_edit(edit),
  }))
  .catch((error) => { element.textContent = 'The scrubber could not be loaded: ' + error.message; });
"""
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


class PackStore:
    """Packs by content hash, the latest used within a budget of bytes."""

    def __init__(self, budget: int = 512 * 1024 * 1024) -> None:
        self._budget = budget
        self._packs: OrderedDict[str, bytes] = OrderedDict()
        self._guard = threading.Lock()

    def put(self, packed: FramePack) -> str:
        """Keeps a pack and returns its key. The newest is kept whatever its size."""
        key = packed.key
        with self._guard:
            self._packs[key] = packed.data
            self._packs.move_to_end(key)
            while len(self._packs) > 1 and sum(map(len, self._packs.values())) > self._budget:
                self._packs.popitem(last=False)
        return key

    def get(self, key: str) -> bytes | None:
        """The bytes under a key, or None when they are not (or no longer) here."""
        with self._guard:
            if key in self._packs:
                self._packs.move_to_end(key)
            return self._packs.get(key)


def asset_router(packs: PackStore, *, prefix: str = PREFIX, dependencies: Sequence[Any] = ()) -> APIRouter:
    """Serves the module and the packs. `dependencies` (a login check) guard both."""
    router = APIRouter(prefix=prefix, dependencies=list(dependencies))

    @router.get("/module-{digest}.js")
    def module(digest: str) -> Response:
        text, current = _module()
        headers = _IMMUTABLE if digest == current else {"Cache-Control": "no-store"}
        return Response(text, media_type="text/javascript", headers=headers)

    @router.get("/packs/{key}")
    def pack(key: str) -> Response:
        data = packs.get(key)
        if data is None:
            return Response("these frames are no longer at hand; open the rollout again", 404, media_type="text/plain")
        return Response(data, media_type="application/octet-stream", headers=_IMMUTABLE)

    return router


def scrubber_value(
    payload: Payload, desk: SpanDesk, packs: PackStore, *, owns_address: bool = True, prefix: str = PREFIX
) -> dict[str, Any]:
    """What to return from a Gradio function whose output is the scrubber.

    Args:
        owns_address: the scrubber keeps its frame and span in the page's address; False where that is the page's own.
    """
    urls = {name: f"{prefix}/packs/{packs.put(packed)}" for name, packed in payload.packs.items()}
    meta = payload.meta | {"owns_address": owns_address, "can_edit": desk.can_edit and payload.meta["can_edit"]}
    return {"meta": meta, "packs": urls, "spans": desk.spans(), "theme": "auto"}


def reading_value(payload: Payload, packs: PackStore) -> dict[str, Any]:
    """The value of a scrubber within a page, to look at only: it has no spans, takes none, and leaves the address."""
    desk = SpanDesk(MemorySpans(), payload.id, payload.frames, can_edit=False)
    return scrubber_value(payload, desk, packs, owns_address=False)


def scrubber_html(
    desk_of: Callable[[str, Request], SpanDesk | None],
    author_of: Callable[[Request], str],
    *,
    value: dict[str, Any] | None = None,
    prefix: str = PREFIX,
    **html: Any,
) -> gr.HTML:
    """The component. Call it inside gr.Blocks.

    Args:
        desk_of: the desk for a rollout's id, or None where this request may not see it. It, not the page, decides
            who may edit what: the server function can be called by anyone who may load the page.
        author_of: who made a request.
        value: from `scrubber_value`, or None to start empty.
    """

    def scrubber_edit(message: Any, request: gr.Request) -> dict[str, Any]:
        raw: Any = getattr(request, "request", None) or request  # Gradio hands over either kind here
        rollout = message.get("rollout") if isinstance(message, dict) else None
        desk = desk_of(rollout, raw) if isinstance(rollout, str) else None
        if desk is None:
            event = message.get("event") if isinstance(message, dict) else None
            return {"kind": "ack", "event": event if isinstance(event, str) else "", "ok": False, "retry": False,
                    "error": "there is no such rollout for you", "version": 0}  # fmt: skip
        return desk.handle(message, author_of(raw))

    # Gradio looks the annotation up by name in this module, where `gr` is at hand.
    return gr.HTML(
        value=value,
        html_template=_TEMPLATE,
        css_template="",
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[scrubber_edit],
        module_url=module_url(prefix),
        **html,
    )


def module_url(prefix: str = PREFIX) -> str:
    """Where asset_router serves the module: for pages that mount it by themselves."""
    return f"{prefix}/module-{_module()[1]}.js"


@cache
def _module() -> tuple[str, str]:
    text = MODULE_PATH.read_text(encoding="utf-8")
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]
