"""The illustrated labelling guideline: for each label what it means, and one real example out of the annotations.

An example is chosen so that it teaches: clear cases before slight ones, audited rollouts before others (reality
stands beside them), spans that fit a strip before long ones; the oldest of equals, so that the page keeps still.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from workbench.film_strips import data_uri, film_strip
from workbench.review.shipped_examples import Examples
from workbench.scrubber.spans import LABELS, Label, Span
from workbench.store.annotations import on_record, span_of
from workbench.store.item_frames import frame_rows, scale_to
from workbench.store.items import Item
from workbench.store.rows import items_of
from workbench.store.store import Store
from workbench.store.tables import Annotation, AuditRow, Record, Run
from wovr_core.errors import CorruptFileError
from wovr_core.types import Frames

STRIP_FRAMES = 8
_TILE = 96
"""Height of a frame in pixels, about."""
_TRIES = 5
"""Candidates of one label that are opened before it is given up: their files may be damaged."""


@dataclass(frozen=True)
class Example:
    """An annotation that shows what a label means."""

    item: Item
    span: Span

    @property
    def link(self) -> str:
        """The query that opens it in the app, at its first frame."""
        return "?" + urlencode({"rollout": self.item.id, "f": self.span.start, "span": self.span.id})


@dataclass(frozen=True)
class Entry:
    """One label of the guideline."""

    label: Label
    count: int
    """How many annotations carry it."""
    example: Example | None
    """None: nobody has used it yet, or none of its examples can be read."""
    picture: Frames | None
    """(H, W, 3) u8: frames of the span, the real ones above the imagined where they are known."""


def guideline(store: Store, runs: frozenset[int] | None = None) -> list[Entry]:
    """All labels in their order. runs: only examples of these (Run.id). Raises StoreError."""
    entries = []
    for label in LABELS:
        with store.read() as session:
            count, candidates = _candidates(session, label.key, runs)
        entries.append(_entry(label, count, candidates))
    return entries


def illustrate(example: Example, frames: int = STRIP_FRAMES) -> Frames:
    """A film strip of the span, one frame of context on either side where there is one.

    Raises CorruptFileError when the files cannot be read, or are shorter than the span.
    """
    item, span = example.item, example.span
    rows = frame_rows(item)
    if span.end >= len(rows[-1]):
        raise CorruptFileError(f"{item.path.name} ends before the annotated frame {span.end}")
    first, last = max(0, span.start - 1), min(len(rows[-1]) - 1, span.end + 1)
    shrink, grow = scale_to(rows[-1].shape[1], _TILE)
    try:
        return film_strip([row[first : last + 1, ::shrink, ::shrink] for row in rows], frames, grow)
    except ValueError as error:  # the replay is shorter, or of another size
        raise CorruptFileError(f"{item.path.name}: {error}") from error


def render(store: Store) -> str:
    """The guideline as one self-contained HTML page. A label without an annotation shows the example that ships."""
    from jinja2 import Environment, PackageLoader

    template = Environment(loader=PackageLoader("workbench"), autoescape=True).get_template("guideline.html")
    entries = guideline(store)
    pictures = [None if entry.picture is None else data_uri(entry.picture) for entry in entries]
    shipped = Examples.shipped()
    told = [_shipped(shipped, entry.label.key) if entry.example is None else None for entry in entries]
    return template.render(
        entries=list(zip(entries, pictures, told, strict=True)), missing=sum(entry.example is None for entry in entries)
    )


def _shipped(examples: Examples, label: str) -> dict[str, str]:
    """{picture: data address or "", caption, why} of the example that ships for a label."""
    told = examples.told(label, "")
    one = examples.examples.get(label)
    data = None if one is None else examples.picture(one.file)
    picture = "" if data is None else "data:image/webp;base64," + base64.b64encode(data).decode()
    return {"picture": picture, "caption": str(told["caption"]), "why": str(told["why"])}


def _candidates(session: Session, label: str, runs: frozenset[int] | None) -> tuple[int, list[Example]]:
    where = [Annotation.label == label]
    if runs is not None:
        where.append(Annotation.run_id.in_(sorted(runs)))
    count = session.scalar(select(func.count()).select_from(Annotation).where(*where)) or 0
    length = Annotation.last - Annotation.first + 1
    fits = case((length.between(3, 3 * STRIP_FRAMES), 0), else_=1)
    unaudited = case((AuditRow.record_id.is_(None), 1), else_=0)
    rows = session.execute(
        select(Annotation, Record.id)
        .join(Record, on_record())
        .join(Run, Run.id == Record.run_id)
        .outerjoin(AuditRow, AuditRow.record_id == Record.id)
        .where(*where, Record.broken.is_(None), ~Run.missing)
        .order_by(Annotation.severity.desc(), unaudited, fits, Annotation.time, Annotation.span_id)
        .limit(_TRIES)
    ).all()
    items = {item.id: item for item in items_of(session, [record for _, record in rows])}
    return int(count), [Example(items[record], span_of(span)) for span, record in rows]


def _entry(label: Label, count: int, candidates: list[Example]) -> Entry:
    for example in candidates:
        try:
            return Entry(label, count, example, illustrate(example))
        except CorruptFileError:
            continue
    return Entry(label, count, None, None)
