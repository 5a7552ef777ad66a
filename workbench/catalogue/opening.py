"""Opens an item: the scrubber's payload, the desk for its annotations, and the evidence beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.catalogue.catalogue import Catalogue
from workbench.film_strips import as_seen
from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.history import Event
from workbench.scrubber.payload import Payload, from_episode, from_rollout
from workbench.scrubber.spans import Span
from workbench.store.annotations import RunAnnotations
from workbench.store.items import KINDS, OUTCOMES, REAL, VERDICTS, Item
from wovr_core.data.episode_files import read_episode, read_rollout
from wovr_core.errors import CorruptFileError
from wovr_core.types import CHUNK


@dataclass(frozen=True)
class ItemSpans:
    """A SpanStore of one item: the page calls it by its catalogue id, the run's log by the rollout's own.

    A log so stays right when its run folder is renamed, and a notebook that writes into it sees the same spans.
    """

    log: RunAnnotations
    key: str

    def spans(self, rollout: str) -> list[Span]:
        """See SpanStore; `rollout` is the catalogue's id."""
        return self.log.spans(self.key)

    def version(self, rollout: str, span_id: str) -> int:
        """See SpanStore."""
        return self.log.version(self.key, span_id)

    def append(self, message: Any, *, rollout: str, author: str, frames: int | None) -> Event:
        """See SpanStore."""
        return self.log.append(message, rollout=self.key, author=author, frames=frames)


def desk_of(catalogue: Catalogue, item: Item) -> SpanDesk:
    """Where the item's edits arrive. Raises CorruptFileError when its run's log cannot be read."""
    return SpanDesk(ItemSpans(catalogue.annotations(item), item.span_key), item.id, item.frames)


def payload_of(item: Item) -> Payload:
    """What the scrubber is handed. Raises CorruptFileError."""
    if item.broken:
        raise CorruptFileError(item.broken)
    if item.kind == REAL:
        payload = from_episode(as_seen(read_episode(item.path)), chunk=CHUNK)
    else:
        real = as_seen(read_episode(item.replay)) if item.replay is not None else None
        payload = from_rollout(as_seen(read_rollout(item.path)), real)
    return payload.with_meta(id=item.id, title=item.name, subtitle="")


def evidence_of(item: Item) -> dict[str, Any]:
    """What is known of the item, for the panel beside the scrubber. Texts are shown as text.

    {title, verdict: {key, title}, groups: [{title, rows: [{label, value, tone, frame}]}]}; a row with a frame
    leads the scrubber there.
    """
    groups = [{"title": "outcome", "rows": _outcome(item)}]
    if item.audit is not None:
        groups.append({"title": "imagined against real", "rows": _comparison(item)})
    groups.append({"title": "where it starts", "rows": _start(item)})
    titles = {"keyframes": "keyframes", "seed": "seed"}
    made = [_row(titles.get(what, what.replace("_", " ")), version) for what, version in item.versions]
    groups.append({"title": "made by" if item.kind != REAL else "facts", "rows": made})
    groups.append({"title": "file", "rows": [_row("run", item.run), _row("stage", item.stage), _row("id", item.name)]})
    return {
        "id": item.id,
        "instruction": item.instruction,
        "verdict": item.verdict,
        "verdict_title": VERDICTS[item.verdict],
        "kind_title": KINDS[item.kind],
        "imagined": item.kind != REAL,
        "groups": [group for group in groups if group["rows"]],
    }


def _outcome(item: Item) -> list[dict[str, Any]]:
    if item.kind == REAL:
        return [_row("in the simulator", OUTCOMES[item.outcome], "good" if item.success else "warn")]
    imagined = f"success at action {item.depth}" if item.success else f"no success in {item.length} actions"
    rows = [_row("imagined", imagined, frame=item.depth if item.success else None)]
    if item.audit is not None:
        real = item.audit.real_success
        rows.append(_row("really", "success" if real else "no success", "good" if real else "warn"))
        tone = {"false_success": "bad", "missed_success": "bad", "true_success": "good"}.get(item.verdict, "")
        rows.append(_row("audit", VERDICTS[item.verdict], tone))
    else:
        rows.append(_row("audit", "not audited: its actions were not executed for real"))
    if item.p_success is not None:
        rows.append(_row("p success, max", f"{item.p_success:.2f}"))
    return rows


def _comparison(item: Item) -> list[dict[str, Any]]:
    audit = item.audit
    if audit is None:
        return []
    first = audit.first_divergent
    return [
        _row("peak difference", f"{audit.peak:.1f} of 255", frame=audit.peak_frame),
        _row(
            f"first ≥ {audit.threshold:g}",
            "none" if first is None else f"frame {first}",
            "" if first is None else "warn",
            frame=first,
        ),
    ]


def _start(item: Item) -> list[dict[str, Any]]:
    rows = [_row("task", item.suite_task)]
    if item.start:
        rows.append(_row("keyframe" if item.kind != REAL else "initial state", item.start))
    if item.reason:
        rows.append(_row("reason", item.reason))
    if item.kind == REAL:
        rows.append(_row("who acted", item.policy))
    return rows


def _row(label: str, value: str, tone: str = "", frame: int | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "tone": tone, "frame": frame}
