"""Answers the module's edits, for either host: checks, keeps, acknowledges. It never raises at a browser's word."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.scrubber.history import VersionConflictError
from workbench.scrubber.span_log import SpanStore
from workbench.scrubber.spans import SpanError
from wovr_core.errors import CorruptFileError

log = logging.getLogger("wovr.scrubber")


@dataclass(frozen=True)
class SpanDesk:
    """Where one rollout's edits arrive."""

    store: SpanStore
    rollout: str
    frames: int
    can_edit: bool = True

    def spans(self) -> list[dict[str, Any]]:
        """The spans as the module wants them."""
        return [span.to_json() for span in self.store.spans(self.rollout)]

    def handle(self, message: object, author: str) -> dict[str, Any]:
        """The acknowledgement of an edit message (both described in payload.py).

        `retry` asks the browser to send the edit again: it was sound, but could not be written (a full disk, say).
        """
        event, span_id = _named(message)
        try:
            if not isinstance(message, Mapping):
                raise SpanError("an edit must be an object")
            if message.get("rollout") != self.rollout:
                raise SpanError(f"this edit is for another rollout than {self.rollout!r}")
            if not self.can_edit:
                raise SpanError("this rollout is open for reading only")
            kept = self.store.append(message, rollout=self.rollout, author=author, frames=self.frames)
            span_id = kept.span_id
        except (SpanError, VersionConflictError) as error:
            return self._ack(event, span_id, error=str(error))
        except (OSError, CorruptFileError) as error:
            log.error("an edit of %s could not be written: %s", self.rollout, error)
            why = error.strerror if isinstance(error, OSError) else error
            return self._ack(event, span_id, error=f"the log cannot be written ({why})", retry=True)
        return self._ack(event, span_id)

    def _ack(self, event: str, span_id: str, error: str | None = None, retry: bool = False) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "kind": "ack", "event": event, "rollout": self.rollout, "ok": error is None, "error": error, "retry": retry,
        }  # fmt: skip
        if not retry:
            answer |= {"version": self.store.version(self.rollout, span_id), "spans": self.spans()}
        return answer


def _named(message: object) -> tuple[str, str]:
    """The ids of the event and of the span that a message names, as far as it does."""
    if not isinstance(message, Mapping):
        return "", ""
    span = message.get("span")
    span_id = span.get("id") if isinstance(span, Mapping) else message.get("id")
    event = message.get("event")
    return (event if isinstance(event, str) else "", span_id if isinstance(span_id, str) else "")
