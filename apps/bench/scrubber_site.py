"""The smallest Gradio app around the scrubber, for benchmarks and tests: a queue of rollouts, one store of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from fastapi import FastAPI

from apps.scrubber_host import PackStore, asset_router, scrubber_html, scrubber_value
from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.payload import Payload
from workbench.scrubber.span_log import SpanStore


def site(payloads: Sequence[Payload], store: SpanStore, heard: list[dict[str, Any]] | None = None) -> FastAPI:
    """The app. What the page triggers (branch, navigate, open) is appended to `heard`."""
    packs = PackStore()
    by_id = {payload.id: payload for payload in payloads}
    order = list(by_id)
    heard = [] if heard is None else heard

    def desk_of(rollout: str, _: object) -> SpanDesk | None:
        return SpanDesk(store, rollout, by_id[rollout].frames) if rollout in by_id else None

    def value_of(rollout: str) -> dict[str, Any]:
        payload = by_id[rollout].with_meta(item=order.index(rollout), items=len(order), can_branch=True)
        return scrubber_value(payload, SpanDesk(store, rollout, payload.frames), packs)

    def navigate(event: gr.EventData) -> Any:
        heard.append(event._data)
        at = order.index(event._data["rollout"]) + event._data["step"]
        return value_of(order[at]) if 0 <= at < len(order) else gr.skip()

    def opened(event: gr.EventData) -> Any:
        heard.append(event._data)
        return value_of(event._data["rollout"]) if event._data["rollout"] in by_id else gr.skip()

    def note(event: gr.EventData) -> None:
        heard.append(event._data)

    with gr.Blocks(title="scrubber", analytics_enabled=False) as page:
        view = scrubber_html(desk_of, lambda _: "tester", value=value_of(order[0]) if order else None, elem_id="view")
        view.navigate(navigate, outputs=view)
        view.open(opened, outputs=view)
        view.branch(note)
    server = FastAPI()
    server.include_router(asset_router(packs))
    return gr.mount_gradio_app(server, page, path="/")
