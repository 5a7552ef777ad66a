"""The guideline: one telling example per label out of real annotations, or the word that there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.film_strips import GAP, upright
from workbench.review.shipped_examples import Examples
from workbench.scrubber.spans import LABELS
from workbench.store.guideline import Entry, guideline, illustrate, render
from workbench.store.indexer import Indexer
from workbench.store.store import Store
from wovr_core.data.episode_files import read_episode, read_rollout


@pytest.fixture
def annotate(sqlite_store: Store, make_run: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    run = make_run(tmp_path, "a")
    indexer = Indexer(sqlite_store)
    indexer.update([run])

    def put(rollout: str, label: str, span: str, **more: Any) -> None:
        body = {"id": span, "start": 20, "end": 25, "label": label, "severity": 2, "note": ""} | more
        edit = {"event": f"e-{span}", "op": "put", "version": 1, "span": body}
        spans = indexer.annotations(run)
        spans.append(edit, rollout=rollout, author="ann", frames=33)
        spans.follow()

    return put


def entry(store: Store, label: str) -> Entry:
    return next(one for one in guideline(store) if one.label.key == label)


def test_without_annotations_every_label_says_so(sqlite_store: Store, annotate: Callable[..., None]) -> None:
    entries = guideline(sqlite_store)
    assert [one.label for one in entries] == list(LABELS)
    assert all(one.example is None and one.count == 0 for one in entries)
    page, shipped = render(sqlite_store), Examples.shipped()
    assert page.count("No example yet") == len(shipped.missing)
    assert page.count("data:image/webp") == page.count("an example that ships") == len(shipped.examples)


def test_the_clear_and_audited_example_is_chosen(sqlite_store: Store, annotate: Callable[..., None]) -> None:
    annotate("r-true", "teleports", "slight", severity=1)
    annotate("rl-1", "teleports", "unaudited", severity=3, start=2, end=6)
    annotate("r-false", "teleports", "long", severity=3, start=0, end=31)
    annotate("r-false", "teleports", "best", severity=3)
    found = entry(sqlite_store, "teleports")
    assert found.count == 4
    assert found.example is not None
    assert found.example.span.id == "best"
    assert found.example.link == "?rollout=a%2Fimagine%2Fr-false&f=20&span=best"


def test_the_picture_shows_these_very_frames_real_over_imagined(
    sqlite_store: Store, annotate: Callable[..., None]
) -> None:
    annotate("r-false", "object_deforms", "s", start=20, end=21)
    example = entry(sqlite_store, "object_deforms").example
    assert example is not None
    picture = illustrate(example)
    side = 16 * 6  # 16 pixels, enlarged
    assert picture.shape == (2 * side + GAP, 4 * side + 3 * GAP, 3), "19, 20, 21, 22"
    assert example.item.replay is not None
    for y, frames in (
        (0, read_episode(example.item.replay).frames),
        (side + GAP, read_rollout(example.item.path).frames),
    ):
        for column, k in enumerate((19, 20, 21, 22)):
            x = column * (side + GAP)
            np.testing.assert_array_equal(picture[y : y + side : 6, x : x + side : 6], upright(frames[k]))


@pytest.mark.fault
def test_an_example_whose_file_broke_gives_way_to_the_next(sqlite_store: Store, annotate: Callable[..., None]) -> None:
    annotate("r-false", "other", "first", severity=3)
    annotate("r-true", "other", "second")
    example = entry(sqlite_store, "other").example
    assert example is not None
    example.item.path.write_bytes(b"")
    found = entry(sqlite_store, "other").example
    assert found is not None
    assert found.span.id == "second"
    found.item.path.unlink()
    assert "none of the 2 annotations here can be read" in render(sqlite_store)


@pytest.mark.security
def test_a_note_is_text_and_nothing_else(sqlite_store: Store, annotate: Callable[..., None]) -> None:
    annotate("r-false", "other", "x", note="<img src=x onerror=alert(1)>")
    page = render(sqlite_store)
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert page.count("data:image/png;base64") == 1
