"""Searching records: filters, counts, order and pages, all of it in SQL, so that ten thousand cost what a page costs.

Values of one filter are alternatives, filters narrow each other. A page goes on behind the last record of the page
before (keyset), so a far page costs what the first does, and records that arrive meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from workbench.store.annotations import on_record
from workbench.store.tables import Annotation, Record, RolloutRow, Run
from wovr_core.errors import UnknownNameError, WovrError

_COLUMNS: dict[str, InstrumentedAttribute[str]] = {
    "run": Run.key,
    "stage": Record.stage,
    "kind": Record.kind,
    "task": Record.task,
    "outcome": Record.outcome,
    "verdict": Record.verdict,
    "depth": Record.depth_range,
    "policy": Record.policy,
    "world_model": Record.world_model,
    "policy_version": Record.policy_version,
    "world_model_version": Record.world_model_version,
    "reward_version": Record.reward_version,
    "keyframes_version": Record.keyframes_version,
    "group": RolloutRow.group_id,
}
_OF_SPANS: dict[str, InstrumentedAttribute[str]] = {"label": Annotation.label, "author": Annotation.author}
"""Filters on the annotations that a record carries; a record may have several values."""
FILTERS = frozenset({*_COLUMNS, *_OF_SPANS})

_Statement = Select[*tuple[Any, ...]]
_Key = tuple[InstrumentedAttribute[Any], bool]
ORDERS: dict[str, tuple[_Key, ...]] = {
    "suspicion": ((Record.rank, False), (Record.peak, True)),
    "divergence": ((Record.peak, True),),
    "p_success": ((Record.p_success, True),),
    "depth": ((Record.depth, True),),
    "made": ((Run.made, True), (Run.key, False), (Record.stage, False), (Record.mtime_ns, False)),
}
"""Name -> (column, descending); the record's id decides between equals."""


class SearchError(WovrError):
    """A search that cannot be made."""


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    filters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of FILTERS -> wanted values."""
    text: str = ""
    """Must stand in a record's id, name, instruction or reason; upper and lower case are one."""
    flagged: bool = False
    """Only records that carry annotations."""
    runs: frozenset[int] | None = None
    """Only records of these runs (Run.id)."""
    order: str = "suspicion"

    def __post_init__(self) -> None:
        for key in self.filters:
            if key not in FILTERS:
                raise UnknownNameError("filter", key, FILTERS)
        if self.order not in ORDERS:
            raise UnknownNameError("order", self.order, ORDERS)


@dataclass(frozen=True)
class Page:
    """Record ids in order, and where the next page begins."""

    ids: tuple[str, ...]
    after: str | None
    """To be handed to the next call; None: that was the last."""


def page(session: Session, wanted: Search, limit: int, after: str | None = None, offset: int = 0) -> Page:
    """The first `limit` records behind `after`, or behind `offset` others. Raises SearchError: a foreign `after`."""
    keys = (*ORDERS[wanted.order], (Record.id, False))
    statement = _matching(select(Record.id, *(column for column, _ in keys[:-1])), wanted)
    if after is not None:
        statement = statement.where(_behind(keys, _read_cursor(after, wanted.order, len(keys))))
    ordered = statement.order_by(*(column.desc() if down else column.asc() for column, down in keys))
    rows = session.execute(ordered.offset(offset).limit(limit + 1)).all()
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(
        tuple(str(row[0]) for row in shown),
        _cursor(wanted.order, [*shown[-1][1:], shown[-1][0]]) if more else None,
    )


def pages(session: Session, wanted: Search, limit: int = 500) -> Iterator[tuple[str, ...]]:
    """All of them, page by page. Do not hold the session longer than needed."""
    after: str | None = None
    while True:
        found = page(session, wanted, limit, after)
        if found.ids:
            yield found.ids
        if found.after is None:
            return
        after = found.after


def count(session: Session, wanted: Search) -> int:
    """How many there are."""
    return int(session.scalar(_matching(select(func.count(Record.id.distinct())), wanted)) or 0)


def facet_counts(session: Session, wanted: Search, key: str) -> dict[str, int]:
    """Value -> how many records choosing it would find, under all the other filters."""
    others = replace(wanted, filters={name: values for name, values in wanted.filters.items() if name != key})
    if key in _OF_SPANS:
        column = _OF_SPANS[key]
        statement = select(column, func.count(Record.id.distinct()))
        statement = _matching(statement, others, joins_spans=True).group_by(column)
    else:
        column = _COLUMNS[key]
        statement = _matching(select(column, func.count(Record.id)), others).group_by(column)
    return {str(value): int(n) for value, n in session.execute(statement) if value is not None}


def _matching(statement: _Statement, wanted: Search, joins_spans: bool = False) -> _Statement:
    statement = statement.select_from(Record).join(Run, Run.id == Record.run_id)
    if joins_spans:
        statement = statement.join(Annotation, on_record())
    if "group" in wanted.filters:
        statement = statement.join(RolloutRow, RolloutRow.record_id == Record.id)
    for key, values in wanted.filters.items():
        if key in _COLUMNS:
            statement = statement.where(_COLUMNS[key].in_(sorted(values)))
        else:
            statement = statement.where(
                exists().where(on_record(), _OF_SPANS[key].in_(sorted(values))).correlate(Record)
            )
    if wanted.text:
        statement = statement.where(Record.search.contains(wanted.text.casefold(), autoescape=True))
    if wanted.flagged:
        statement = statement.where(exists().where(on_record()).correlate(Record))
    if wanted.runs is not None:
        statement = statement.where(Record.run_id.in_(sorted(wanted.runs)))
    return statement


def _behind(keys: Sequence[_Key], values: Sequence[Any]) -> ColumnElement[bool]:
    """Rows that come after the one with these values."""
    alternatives = []
    for n, (column, down) in enumerate(keys):
        equal = [before == value for (before, _), value in zip(keys[:n], values[:n], strict=True)]
        alternatives.append(and_(*equal, column < values[n] if down else column > values[n]))
    return or_(*alternatives)


def _cursor(order: str, values: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, *values]).encode()).decode()


def _read_cursor(text: str, order: str, length: int) -> list[Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode()))
    except ValueError as error:
        raise SearchError("this is no place in a list of records") from error
    plain = isinstance(found, list) and all(isinstance(value, str | int | float) for value in found)
    if not plain or len(found) != length + 1 or found[0] != order:
        raise SearchError("this place belongs to a list in another order; start from the first page")
    return list(found[1:])
