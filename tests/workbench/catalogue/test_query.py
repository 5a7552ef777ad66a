"""Filters, facets, order and pages, against a count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.catalogue.items import AUDITED, PRACTICE, Audit, Item
from workbench.catalogue.query import FACETS, PAGE, QueryError, answer, parse_query


def items(n: int = 200) -> list[Item]:
    rng = np.random.default_rng(3)
    made = []
    for i in range(n):
        audited = bool(rng.integers(2))
        audit = Audit(bool(rng.integers(2)), tuple(rng.uniform(0, 30, 5)), 12.0) if audited else None
        made.append(
            Item(
                id=f"r/{i}",
                run=f"run{rng.integers(3)}",
                stage="rl",
                name=f"n{i}",
                kind=(PRACTICE, AUDITED)[audited],
                path=Path("x"),
                stamp=str(i),
                suite_task=f"object/{rng.integers(4)}",
                instruction="lift the can",
                length=64,
                depth=int(rng.integers(1, 200)),
                success=bool(rng.integers(2)),
                policy=f"p{rng.integers(2)}",
                world_model="w",
                p_success=float(rng.random()),
                audit=audit,
            )
        )
    return made


def test_filters_are_or_within_a_facet_and_and_between_facets() -> None:
    pool = items()
    query = parse_query({"filters": {"run": ["run0", "run2"], "verdict": ["false_success"]}})
    expected = {i.id for i in pool if i.run in ("run0", "run2") and i.audit and i.success and not i.audit.real_success}
    assert set(answer(pool, query).ids) == expected
    assert expected


def test_a_facets_counts_are_what_choosing_a_value_would_find() -> None:
    pool = items()
    filters = {"run": ["run0"], "policy": ["p1"]}
    for facet in answer(pool, parse_query({"filters": filters})).facets:
        others = {key: values for key, values in filters.items() if key != facet["key"]}
        for value in facet["values"]:
            alone = parse_query({"filters": others | {facet["key"]: [value["key"]]}})
            assert value["count"] == answer(pool, alone).total, (facet["key"], value)
    assert [facet["key"] for facet in answer(pool, parse_query({})).facets] == [facet.key for facet in FACETS]


def test_a_chosen_value_stays_in_sight_even_when_nothing_is_left_of_it() -> None:
    found = answer(items(), parse_query({"filters": {"run": ["gone"]}}))
    (run,) = (facet for facet in found.facets if facet["key"] == "run")
    assert {"key": "gone", "title": "gone", "count": 0, "on": True} in run["values"]
    assert found.total == 0


def test_pages_hold_everything_once() -> None:
    pool = items()
    seen: list[str] = []
    first = answer(pool, parse_query({"order": "depth"}))
    for page in range(first.pages):
        seen += [item.id for item in answer(pool, parse_query({"order": "depth", "page": page})).items]
    assert seen == list(first.ids)
    assert len(set(seen)) == len(pool)
    assert first.pages == -(-len(pool) // PAGE)
    assert answer(pool, parse_query({"page": 10**6})).page == first.pages - 1


def test_false_successes_come_first_and_the_farthest_first_of_them() -> None:
    found = answer(items(), parse_query({}))
    verdicts = [item.verdict for item in found.items]
    ranks = ["false_success", "missed_success", "true_success", "true_failure", "not_audited"]
    assert [ranks.index(v) for v in verdicts] == sorted(ranks.index(v) for v in verdicts)
    peaks = [item.audit.peak for item in found.items if item.audit and item.verdict == "false_success"]
    assert peaks == sorted(peaks, reverse=True)


def test_text_and_flags() -> None:
    pool = items(30)
    assert answer(pool, parse_query({"text": " N7 "})).ids == ("r/7",)
    assert answer(pool, parse_query({"text": "LIFT THE"})).total == 30
    flagged = frozenset({"r/3", "r/9"})
    assert set(answer(pool, parse_query({"flagged": True}), flagged).ids) == flagged


@pytest.mark.security
@pytest.mark.parametrize(
    "bad",
    [
        [], "x", 3, {"filters": []}, {"filters": {"path": ["x"]}}, {"filters": {"run": "x"}}, {"filters": {"run": [1]}},
        {"filters": {"run": ["x"] * 201}}, {"text": 3}, {"text": "x" * 201}, {"order": "drop"}, {"order": ["made"]},
        {"page": -1}, {"page": True}, {"page": "1"}, {"page": 1.5},
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused(bad: object) -> None:
    with pytest.raises(QueryError):
        parse_query(bad)
