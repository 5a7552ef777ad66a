"""Saved filters: each user's own, checked, and safe from each other's writes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from workbench.catalogue.query import QueryError
from workbench.catalogue.saved_filters import MOST, SavedFilterError, SavedFilters
from wovr_core.errors import CorruptFileError, UnknownNameError

FALSE = {"filters": {"verdict": ["false_success"]}, "text": " Soup ", "flagged": True, "order": "divergence"}


@pytest.fixture
def saved(tmp_path: Path) -> SavedFilters:
    return SavedFilters(tmp_path / "filters.json")


def test_each_user_has_own_filters_over_restarts(saved: SavedFilters) -> None:
    saved.save("ann", "  lies ", FALSE)
    saved.save("opa", "lies", {})
    kept = {"filters": {"verdict": ["false_success"]}, "text": "soup", "flagged": True, "order": "divergence"}
    assert SavedFilters(saved.path).of("ann") == [{"name": "lies", "query": kept}]
    assert saved.of("opa")[0]["query"]["filters"] == {}
    assert saved.of("nobody") == []


def test_rename_overwrite_and_delete(saved: SavedFilters) -> None:
    for name in ("b", "A", "c"):
        saved.save("ann", name, {})
    saved.rename("ann", "b", "z")
    saved.save("ann", "c", FALSE)
    assert [one["name"] for one in saved.of("ann")] == ["A", "c", "z"]
    assert saved.of("ann")[1]["query"]["flagged"] is True
    with pytest.raises(SavedFilterError, match="already"):
        saved.rename("ann", "z", "A")
    saved.rename("ann", "z", "z")
    saved.delete("ann", "z")
    with pytest.raises(UnknownNameError):
        saved.delete("ann", "z")
    with pytest.raises(UnknownNameError):
        saved.rename("opa", "A", "mine")
    assert [one["name"] for one in saved.of("ann")] == ["A", "c"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\nb", "\u202egnp", None, 7])
def test_names_that_are_none_are_refused(saved: SavedFilters, name: object) -> None:
    with pytest.raises(SavedFilterError, match="1 to 60"):
        saved.save("ann", name, {})
    assert not saved.path.exists()


@pytest.mark.parametrize("query", [7, {"filters": {"__proto__": ["x"]}}, {"order": "x"}, {"filters": {"run": "all"}}])
def test_queries_that_are_none_are_refused(saved: SavedFilters, query: object) -> None:
    with pytest.raises(QueryError):
        saved.save("ann", "x", query)


def test_one_user_cannot_fill_the_disk(saved: SavedFilters) -> None:
    for i in range(MOST):
        saved.save("ann", f"n{i}", {})
    with pytest.raises(SavedFilterError, match="delete one first"):
        saved.save("ann", "one more", {})
    saved.save("ann", "n0", FALSE)
    saved.save("opa", "one more", {})


def test_writers_at_the_same_time_lose_nothing(saved: SavedFilters) -> None:
    threads = [
        threading.Thread(target=SavedFilters(saved.path).save, args=(f"u{i % 3}", f"n{i}", {})) for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(len(saved.of(f"u{i}")) for i in range(3)) == 12


@pytest.mark.fault
def test_a_broken_file_is_named_and_left_alone(saved: SavedFilters) -> None:
    saved.path.write_text("[1]")
    with pytest.raises(CorruptFileError, match=r"filters\.json"):
        saved.save("ann", "x", {})
    assert saved.path.read_text() == "[1]"
