"""The gallery in a notebook: film strips of every rollout and episode, filters, and the scrubber at a click.

from workbench.widgets import Gallery
gallery = Gallery(verdict="false_success", run="demo")
gallery                                               # `gallery.scrubber.annotations` of what is open
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.opening import ItemSpans, payload_of
from workbench.catalogue.query import ORDERS, QueryError, parse_query
from workbench.catalogue.strips import Strips
from workbench.server.roles import system_user
from workbench.store.items import Item
from workbench.widgets.scrubber import Scrubber
from wovr_core.errors import WovrError

log = logging.getLogger("wovr.widgets")

_HERE = Path(__file__).parent


class GalleryView(anywidget.AnyWidget):
    """The strips and filters. Use `Gallery`, which puts the scrubber beneath it.

    It asks with {kind: "ask", id, query} and {kind: "open", id}; answers carry the strips as buffers.
    """

    _esm = _HERE / "gallery.js"
    _css = _HERE / "gallery.css"

    query: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    opened = traitlets.Unicode("").tag(sync=True)

    def __init__(self, catalogue: Catalogue, strips: Strips, query: Mapping[str, Any]) -> None:
        self.catalogue, self.strips = catalogue, strips
        self.open_item: Any = lambda item_id: None
        super().__init__(query=dict(query))
        self.on_msg(self._receive)

    def page(self, query: object) -> tuple[dict[str, Any], list[bytes]]:
        """({cards, facets, ...} or {error}, pictures): a card's `buffer` is the index of its picture, or null."""
        try:
            asked = parse_query(query)
        except QueryError as error:
            return {"error": str(error)}, []
        if isinstance(query, Mapping) and query.get("again") is True:
            self.catalogue.look_again()
        found = self.catalogue.answer(asked)
        cards: list[dict[str, Any]] = []
        pictures: list[bytes] = []
        for item in found.items:
            picture = self._picture(item)
            cards.append(
                item.card(found.spans.get(item.id, 0)) | {"buffer": None if picture is None else len(pictures)}
            )
            pictures += [picture] if picture is not None else []
        answer = {
            "cards": cards,
            "facets": found.facets,
            "total": found.total,
            "all": found.all,
            "page": found.page,
            "pages": found.pages,
            "orders": [{"key": key, "title": title} for key, title in ORDERS.items()],
            "problems": [{"run": p.run, "reason": p.reason} for p in self.catalogue.problems()],
        }
        return answer, pictures

    def _picture(self, item: Item) -> bytes | None:
        if item.broken:
            return None
        try:
            return self.strips.get(item)
        except (WovrError, OSError) as error:
            log.warning("no picture of %s: %s", item.id, error)
            return None

    def _receive(self, _: object, content: object, __: object) -> None:
        if not isinstance(content, Mapping):
            return
        if content.get("kind") == "ask":
            answer, pictures = self.page(content.get("query"))
            self.send({"kind": "answer", "id": content.get("id"), "answer": answer}, pictures)
        elif content.get("kind") == "open" and isinstance(content.get("id"), str):
            try:
                self.open_item(content["id"])
            except (WovrError, OSError) as error:
                self.send({"kind": "trouble", "text": str(error)})


class Gallery(ipywidgets.VBox):
    """Everything that is recorded, filtered; a click opens it in the scrubber beneath.

    Args:
        runs: a folder of run folders; $WOVR_HOME/runs by default.
        paths: further run folders.
        catalogue: in place of both.
        text: to search for.
        filters: facet -> a value or several: run="demo", verdict="false_success", kind, outcome, label, task, depth,
            policy, world_model. Raises QueryError for others.
    """

    def __init__(
        self,
        runs: Path | str | None = None,
        paths: Sequence[Path | str] = (),
        *,
        catalogue: Catalogue | None = None,
        text: str = "",
        order: str = "suspicion",
        author: str | None = None,
        **filters: str | Sequence[str],
    ) -> None:
        wanted = {key: [value] if isinstance(value, str) else list(value) for key, value in filters.items()}
        query = {"filters": wanted, "text": text, "order": order}
        parse_query(query)
        config = CatalogueConfig(runs=Path(runs) if runs else None, paths=tuple(Path(p) for p in paths))
        self.catalogue = catalogue or Catalogue(config)
        self.view = GalleryView(self.catalogue, Strips(), query)
        self.view.open_item = self.show
        self.scrubber: Scrubber | None = None
        """What is open, with its `annotations`."""
        self._author = author or system_user()
        super().__init__(children=(self.view,))

    def show(self, item_id: str) -> Scrubber:
        """Open a rollout or episode by its catalogue id; its spans go to its run's log, as in the app.

        Raises:
            WovrError: there is none, or it cannot be read.
        """
        item = self.catalogue.find(item_id)
        if item is None:
            raise WovrError(f"there is no rollout or episode {item_id[:200]!r} here")
        spans = ItemSpans(self.catalogue.annotations(item), item.span_key)
        scrubber = Scrubber(payload_of(item), log=spans, author=self._author)
        old, self.scrubber = self.scrubber, scrubber
        self.children = (self.view, scrubber)
        self.view.opened = item_id
        if old is not None:
            old.close()
        return scrubber
