"""Filters, order and pages of the gallery. What a browser sends is checked here; what it asks for is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from workbench.scrubber.spans import LABELS
from workbench.store import search
from workbench.store.annotations import counts as counts_of
from workbench.store.items import DEPTHS, KINDS, OUTCOMES, VERDICTS, Item
from workbench.store.rows import items_of
from wovr_core.errors import WovrError

PAGE = 24
MAX_VALUES = 200
MAX_TEXT = 200


class QueryError(WovrError):
    """A query that is none."""


@dataclass(frozen=True)
class Facet:
    """One filter, and how its values are called. `key` is one of store.search.FILTERS."""

    key: str
    title: str
    titles: Mapping[str, str] | None = None
    order: tuple[str, ...] = ()


_DEPTH_KEYS = tuple(f"{low}-{high}" if high else f"{low}+" for low, high in DEPTHS)
_LABELS = {label.key: label.title for label in LABELS}
FACETS: tuple[Facet, ...] = (
    Facet("verdict", "audit", VERDICTS, tuple(VERDICTS)),
    Facet("outcome", "outcome", OUTCOMES, tuple(OUTCOMES)),
    Facet("label", "annotated as", _LABELS, tuple(_LABELS)),
    Facet("run", "run"),
    Facet("kind", "what", KINDS, tuple(KINDS)),
    Facet("task", "task"),
    Facet("depth", "depth (actions)", None, _DEPTH_KEYS),
    Facet("policy", "policy"),
    Facet("world_model", "world model"),
)
_KEYS = frozenset(facet.key for facet in FACETS)

ORDERS: dict[str, str] = {
    "suspicion": "most telling first",
    "divergence": "divergence",
    "p_success": "p success",
    "depth": "depth",
    "made": "as made",
}


@dataclass(frozen=True)
class Query:
    """What the gallery is to show."""

    filters: Mapping[str, frozenset[str]]
    """Facet -> wanted values; a facet without values lets everything through."""
    text: str = ""
    flagged: bool = False
    """Only items that carry spans."""
    order: str = "suspicion"
    page: int = 0


@dataclass(frozen=True)
class Found:
    """One page of what a query found."""

    items: tuple[Item, ...]
    total: int
    page: int
    pages: int
    all: int
    """How many there are without any filter."""
    flagged: int
    """How many of all carry annotations."""
    spans: Mapping[str, int]
    """Item id -> how many annotations it carries, of those of this page that carry any."""
    facets: list[dict[str, Any]]
    """[{key, title, values: [{key, title, count, on}]}]: counts under all the other filters."""


def parse_query(value: object) -> Query:
    """A query out of what a browser sent. Raises QueryError."""
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise QueryError("a query must be an object")
    filters = value.get("filters", {})
    if not isinstance(filters, Mapping) or not set(filters) <= _KEYS:
        raise QueryError(f"filters must be an object over {', '.join(sorted(_KEYS))}")
    wanted = {}
    for key, values in filters.items():
        if not isinstance(values, list) or len(values) > MAX_VALUES or not all(isinstance(v, str) for v in values):
            raise QueryError(f"the filter {key} must be a list of at most {MAX_VALUES} texts")
        if values:
            wanted[str(key)] = frozenset(values)
    text, order, page = value.get("text", ""), value.get("order", "suspicion"), value.get("page", 0)
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise QueryError(f"the text must have at most {MAX_TEXT} characters")
    if not isinstance(order, str) or order not in ORDERS:
        raise QueryError(f"the order must be one of {', '.join(ORDERS)}")
    if not isinstance(page, int) or isinstance(page, bool) or page < 0:
        raise QueryError("the page must be a whole number from 0")
    return Query(wanted, text.strip().casefold(), value.get("flagged") is True, order, page)


def answer(session: Session, query: Query, runs: frozenset[int]) -> Found:
    """One page over the records of these runs, the last one where the query asks beyond it."""
    wanted = search_of(query, runs)
    total = search.count(session, wanted)
    pages = max(1, -(-total // PAGE))
    page = min(query.page, pages - 1)
    ids = search.page(session, wanted, PAGE, offset=page * PAGE).ids
    everything = search.Search(runs=runs)
    facets = []
    for facet in FACETS:
        counts = search.facet_counts(session, wanted, facet.key)
        facets.append(_facet(facet, counts, query.filters.get(facet.key, frozenset())))
    return Found(
        items=tuple(items_of(session, ids)),
        total=total,
        page=page,
        pages=pages,
        all=search.count(session, everything),
        flagged=search.count(session, replace(everything, flagged=True)),
        spans=counts_of(session, ids),
        facets=facets,
    )


def nothing(query: Query) -> Found:
    """The answer where there are no runs."""
    facets = [_facet(facet, {}, query.filters.get(facet.key, frozenset())) for facet in FACETS]
    return Found((), 0, 0, 1, 0, 0, {}, facets)


def found_ids(session: Session, query: Query, runs: frozenset[int]) -> list[str]:
    """Ids of everything that a query finds, in order."""
    return [one for ids in search.pages(session, search_of(query, runs)) for one in ids]


def search_of(query: Query, runs: frozenset[int]) -> search.Search:
    """What the store is asked for."""
    return search.Search(query.filters, query.text, query.flagged, runs, query.order)


def _facet(facet: Facet, counts: Mapping[str, int], on: frozenset[str]) -> dict[str, Any]:
    known = [key for key in facet.order if counts.get(key) or key in on]
    others = sorted(key for key in {*counts, *on} if key and key not in facet.order)
    titles = facet.titles or {}
    values = [
        {"key": key, "title": titles.get(key, key), "count": counts.get(key, 0), "on": key in on}
        for key in [*known, *others]
    ]
    return {"key": facet.key, "title": facet.title, "values": values}
