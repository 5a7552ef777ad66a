"""Who sees whose spans. Blind labelling is kept here, in the service, not by what a page happens to hide.

An item is blind while it is labelled by two and not both are done, or while it is gold. Of a blind item everybody
sees their own spans alone; of gold its author sees all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.review.book import ItemState
from workbench.review.ranking import QueueConfig, is_double, is_open
from workbench.scrubber.history import Event
from workbench.scrubber.span_log import SpanLog, SpanStore
from workbench.scrubber.spans import Span, SpanError


def is_blind(config: QueueConfig, record_id: str, state: ItemState | None, viewer: str) -> bool:
    """Whether the viewer must not see what others have marked on this item."""
    if state is not None and state.gold is not None:
        return viewer != state.gold.author
    return is_double(config, record_id) and is_open(config, record_id, state)


@dataclass(frozen=True)
class BlindSpans:
    """A SpanStore that shows one viewer their own spans, and lets them edit nothing else."""

    store: SpanStore
    log: SpanLog
    """The run's log, which knows who made a span."""
    key: str
    """The record's annotation key: what the log calls the item."""
    viewer: str

    def spans(self, rollout: str) -> list[Span]:
        """See SpanStore."""
        return [span for span in self.store.spans(rollout) if self._is_own(span.id)]

    def version(self, rollout: str, span_id: str) -> int:
        """See SpanStore; of a hidden span 0, as of one that there is not."""
        return self.store.version(rollout, span_id) if self._is_own(span_id) else 0

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Event:
        """See SpanStore. Raises SpanError for an edit by, or of a span of, somebody else."""
        if author != self.viewer:
            raise SpanError(f"these spans are open for {self.viewer!r} alone")
        span_id = self._touched(message)
        if span_id is not None and not self._is_own(span_id):
            raise SpanError("there is no such span here; make a new one")
        return self.store.append(message, rollout=rollout, author=author, frames=frames)

    def _is_own(self, span_id: str) -> bool:
        try:
            return self.log.first_author(self.key, span_id) == self.viewer
        except IndexError:
            return True  # nobody has made it yet

    def _touched(self, message: Mapping[str, Any]) -> str | None:
        """The span that an edit is about, as far as the message names one."""
        span = message.get("span")
        named = span.get("id") if isinstance(span, Mapping) else message.get("id")
        if message.get("op") == "undo":
            target = message.get("target")
            named = next((event.span_id for event in self.log.events() if event.id == target), None)
        return named if isinstance(named, str) else None
