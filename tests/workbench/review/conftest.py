"""Queues over made-up runs, on both databases, with a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stores import address, open_store, quick_disk, sqlite_store, store
from workbench.review.queue import ReviewQueue
from workbench.review.ranking import QueueConfig
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.store.indexer import Indexer
from workbench.store.store import Store

__all__ = ["address", "open_store", "quick_disk", "sqlite_store", "store"]


class Clock:
    """Seconds since 1970, as a test says."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    return make_run(tmp_path, "a")


@pytest.fixture
def make_queue(run: Path, clock: Clock) -> Callable[..., ReviewQueue]:
    """A queue over the run, which the store has taken in."""

    def make(store: Store, **config: Any) -> ReviewQueue:
        Indexer(store).update([run])
        return ReviewQueue(store, QueueConfig(**{"double_share": 0.0, "gold_share": 0.0} | config), now=clock)

    return make


@pytest.fixture
def mark(run: Path) -> Callable[..., None]:
    """Annotates in the run's log."""

    def make(author: str, rollout: str, span: str, start: int, end: int, label: str = "teleports") -> None:
        body = {"id": span, "start": start, "end": end, "label": label, "severity": 2, "note": ""}
        edit = {"event": f"e-{span}", "op": "put", "version": 1, "span": body}
        SpanLog(run / LOG_NAME).append(edit, rollout=rollout, author=author, frames=33)

    return make
