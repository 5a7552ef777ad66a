"""The scrubber in a notebook: an anywidget around the ES module that the app uses too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbench.scrubber import MODULE_PATH
from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.payload import Payload, from_episode, from_rollout
from workbench.scrubber.span_log import MemorySpans, SpanLog, SpanStore
from workbench.scrubber.spans import Span
from workbench.server.roles import system_user
from wovr_core.types import Episode, Rollout

Shown = Rollout | Episode | Payload


class Scrubber(anywidget.AnyWidget):
    """Scrubs one rollout or episode frame by frame and collects annotation spans.

    Args:
        shown: a Rollout, an Episode, or a Payload made with workbench.scrubber.payload.
        real: what really happened under a Rollout's actions.
        log: a JSON Lines file to keep the spans in (shared, append-only), or any SpanStore. None: in memory.
        author: who annotates; the user of the operating system by default.
        options: further arguments of payload.from_rollout or payload.from_episode.

    `annotations` holds the spans as records; `on_branch` and `on_navigate` take callbacks.
    """

    _esm = MODULE_PATH

    meta = traitlets.Dict().tag(sync=True)
    packs = traitlets.Dict().tag(sync=True)
    spans: traitlets.List[Any] = traitlets.List().tag(sync=True)
    theme = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)

    def __init__(
        self,
        shown: Shown,
        real: Episode | None = None,
        *,
        log: Path | str | SpanStore | None = None,
        author: str | None = None,
        theme: str = "auto",
        **options: Any,
    ) -> None:
        self._store: SpanStore = MemorySpans() if log is None else SpanLog(log) if isinstance(log, Path | str) else log
        self._author = author or system_user()
        self._heard: dict[str, list[Callable[[Mapping[str, Any]], None]]] = {"branch": [], "navigate": [], "open": []}
        payload = _payload(shown, real, options)
        self._desk = SpanDesk(self._store, payload.id, payload.frames, payload.meta["can_edit"])
        super().__init__(meta=payload.meta, packs=payload.pack_bytes(), spans=self._desk.spans(), theme=theme)
        self.on_msg(self._receive)

    def show(self, shown: Shown, real: Episode | None = None, **options: Any) -> None:
        """Opens another rollout in the same view; the spans of all of them go to the same log."""
        payload = _payload(shown, real, options)
        if self._heard["branch"]:
            payload = payload.with_meta(can_branch=True)
        self._desk = SpanDesk(self._store, payload.id, payload.frames, payload.meta["can_edit"])
        with self.hold_sync():
            self.packs = payload.pack_bytes()
            self.spans = self._desk.spans()
            self.meta = payload.meta

    @property
    def annotations(self) -> list[Span]:
        """The spans of the rollout that is shown."""
        return self._store.spans(self._desk.rollout)

    def seek(self, frame: int) -> None:
        """Moves the view's clock."""
        self.send({"kind": "seek", "frame": int(frame)})

    def on_branch(self, act: Callable[[Mapping[str, Any]], None]) -> None:
        """`act` gets {rollout, frame} when the user asks to imagine on from a frame."""
        self._heard["branch"].append(act)
        self.meta = {**self.meta, "can_branch": True}

    def on_navigate(self, act: Callable[[Mapping[str, Any]], None]) -> None:
        """`act` gets {rollout, step} when the user asks for the next (+1) or previous (-1) item."""
        self._heard["navigate"].append(act)

    def on_open(self, act: Callable[[Mapping[str, Any]], None]) -> None:
        """`act` gets {rollout} when a deep link asks for another rollout."""
        self._heard["open"].append(act)

    def _receive(self, _: object, content: object, __: object) -> None:
        if not isinstance(content, Mapping):
            return
        kind = content.get("kind")
        if kind == "edit":
            answer = self._desk.handle(content, self._author)
            self.send(answer)
            self.spans = self._desk.spans()  # further views of this widget follow
        elif isinstance(kind, str):
            for act in self._heard.get(kind, ()):
                act(content)


def _payload(shown: Shown, real: Episode | None, options: dict[str, Any]) -> Payload:
    if isinstance(shown, Payload):
        return shown
    if isinstance(shown, Episode):
        return from_episode(shown, **options)
    return from_rollout(shown, real, **options)
