"""What page Review answers to messages, with no browser in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from apps.pages.review import ReviewPage
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.review.queue import ReviewQueue
from workbench.review.ranking import QueueConfig
from workbench.server.roles import Role, User

FIRST = "a/imagine/r-false"


@pytest.fixture
def services(tmp_path: Path, make_run: Callable[..., Path]) -> Services:
    make_run(tmp_path / "runs", "a")
    made = Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0)))
    made.__dict__["queue"] = ReviewQueue(made.store, QueueConfig(double_share=0.0, gold_share=0.0))
    return made


def test_answers_are_json_and_nothing_of_a_message_is_trusted(services: Services) -> None:
    page, ann = ReviewPage(services), User("ann", Role.ANNOTATOR)
    opened = page.answer({"op": "next"}, ann)
    assert opened["item"]["id"] == FIRST
    assert opened["item"]["sheet"]["curve"]["first"] == 20
    for message, why in (
        (None, "must be an object"),
        ({"op": "nothing"}, "op must be one of"),
        ({"op": "submit", "id": 3, "made": 0}, "id must be a text"),
        ({"op": "submit", "id": FIRST, "made": "now"}, "made must be a number"),
        ({"op": "skip", "id": FIRST, "made": 0, "why": " "}, "say why"),
        ({"op": "edit", "rollout": "../x", "edit": "put"}, "not here any more"),
        ({"op": "keep", "id": "a/imagine/r-true", "made": 0}, "expired"),
    ):
        assert why in page.answer(message, ann)["error"], message
