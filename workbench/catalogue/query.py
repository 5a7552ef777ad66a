"""Filters, order and pages of the gallery. What a browser sends is checked here; what it asks for is looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.catalogue.items import DEPTHS, KINDS, OUTCOMES, VERDICTS, Item
from wovr_core.errors import WovrError

PAGE = 24
MAX_VALUES = 200
MAX_TEXT = 200


class QueryError(WovrError):
    """A query that is none."""


@dataclass(frozen=True)
class Facet:
    """One filter: which value an item has, and how values are called."""

    key: str
    title: str
    value: Callable[[Item], str]
    titles: Mapping[str, str] | None = None
    order: tuple[str, ...] = ()


_DEPTH_KEYS = tuple(f"{low}-{high}" if high else f"{low}+" for low, high in DEPTHS)
FACETS: tuple[Facet, ...] = (
    Facet("verdict", "audit", lambda item: item.verdict, VERDICTS, tuple(VERDICTS)),
    Facet("outcome", "outcome", lambda item: item.outcome, OUTCOMES, tuple(OUTCOMES)),
    Facet("run", "run", lambda item: item.run),
    Facet("kind", "what", lambda item: item.kind, KINDS, tuple(KINDS)),
    Facet("task", "task", lambda item: item.suite_task),
    Facet("depth", "depth (actions)", lambda item: item.depth_range, None, _DEPTH_KEYS),
    Facet("policy", "policy", lambda item: item.policy),
    Facet("world_model", "world model", lambda item: item.world_model),
)
SPANS = "spans"
_KEYS = frozenset(facet.key for facet in FACETS)

_VERDICT_RANK = {"false_success": 0, "missed_success": 1, "true_success": 2, "true_failure": 3, "not_audited": 4}
ORDERS: dict[str, tuple[str, Callable[[Item], Any]]] = {
    "suspicion": (
        "most telling first",
        lambda item: (bool(item.broken), _VERDICT_RANK[item.verdict], -(item.audit.peak if item.audit else 0.0)),
    ),
    "divergence": ("divergence", lambda item: -(item.audit.peak if item.audit else -1.0)),
    "p_success": ("p success", lambda item: -(item.p_success if item.p_success is not None else -1.0)),
    "depth": ("depth", lambda item: -item.depth),
    "made": ("as made", lambda item: 0),
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
    ids: tuple[str, ...]
    """Of all that were found, in order."""
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


def answer(items: Sequence[Item], query: Query, flagged: frozenset[str] = frozenset()) -> Found:
    """Filters, sorts and cuts. `flagged`: ids of items with spans."""
    pool = [item for item in items if _matches_text(item, query.text) and (not query.flagged or item.id in flagged)]
    values = [tuple(facet.value(item) for facet in FACETS) for item in pool]
    misses = [_misses(row, query.filters) for row in values]
    found = [item for item, missed in zip(pool, misses, strict=True) if not missed]
    found.sort(key=ORDERS[query.order][1])
    pages = max(1, -(-len(found) // PAGE))
    page = min(query.page, pages - 1)
    facets = []
    for column, facet in enumerate(FACETS):
        counts = Counter(row[column] for row, missed in zip(values, misses, strict=True) if missed <= {facet.key})
        facets.append(_facet(facet, counts, query.filters.get(facet.key, frozenset())))
    shown = tuple(found[page * PAGE : (page + 1) * PAGE])
    return Found(shown, len(found), page, pages, tuple(item.id for item in found), facets)


def _matches_text(item: Item, text: str) -> bool:
    return not text or text in f"{item.id} {item.name} {item.instruction} {item.reason}".casefold()


def _misses(row: Sequence[str], filters: Mapping[str, frozenset[str]]) -> set[str]:
    """The facets whose filters this item does not pass."""
    return {
        facet.key
        for facet, value in zip(FACETS, row, strict=True)
        if facet.key in filters and value not in filters[facet.key]
    }


def _facet(facet: Facet, counts: Counter[str], on: frozenset[str]) -> dict[str, Any]:
    known = [key for key in facet.order if counts[key] or key in on]
    others = sorted(key for key in {*counts, *on} if key and key not in facet.order)
    titles = facet.titles or {}
    values = [
        {"key": key, "title": titles.get(key, key), "count": counts[key], "on": key in on} for key in [*known, *others]
    ]
    return {"key": facet.key, "title": facet.title, "values": values}
