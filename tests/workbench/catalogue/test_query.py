"""Filters, facets, order and pages of the gallery, against a count by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from workbench.catalogue.query import FACETS, PAGE, QueryError, answer, found_ids, parse_query
from workbench.scrubber.spans import LABELS
from workbench.store.database import DatabaseConfig
from workbench.store.items import AUDITED, PRACTICE, Audit, Item
from workbench.store.rows import write_items
from workbench.store.run_items import RunFile
from workbench.store.store import Store
from workbench.store.tables import Annotation, Run

N = 200
RUNS = frozenset({1, 2, 3})


def items() -> list[Item]:
    rng = np.random.default_rng(3)
    made = []
    for i in range(N):
        audited = bool(rng.integers(2))
        audit = Audit.of(bool(rng.integers(2)), rng.uniform(0, 30, 5).tolist(), 12.0) if audited else None
        run = f"run{rng.integers(3)}"
        made.append(
            Item(
                id=f"{run}/rl/{i}",
                run=run,
                stage="rl",
                name=f"n{i}",
                kind=(PRACTICE, AUDITED)[audited],
                path=Path(f"/{run}/rl/rollouts/{i}"),
                stamp=str(i),
                suite_task=f"object/{rng.integers(4)}",
                instruction="Lift the can",
                length=64,
                depth=int(rng.integers(1, 200)),
                success=bool(rng.integers(2)),
                policy=f"p{rng.integers(2)}",
                world_model="w",
                p_success=float(rng.random()),
                reward=0.5,
                audit=audit,
            )
        )
    return made


POOL = items()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A store of these items in three runs; the fifth and the ninth carry annotations."""
    store = Store.open(DatabaseConfig(f"sqlite:///{tmp_path_factory.mktemp('query')}/store.db"))
    with store.write() as writing:
        for n in range(3):
            where = f"/run{n}"
            run = Run(id=n + 1, key=f"run{n}", path=where, recipe="", wovr="", made=n, signature="", missing=False)
            writing.add(run)
            writing.flush()
            mine = [(RunFile("rl", i.kind, i.path, 1, 1), i) for i in POOL if i.run == run.key]
            write_items(writing, run.id, Path(where), mine, {})
        spans = ((POOL[5], "a", "teleports"), (POOL[5], "b", "other"), (POOL[9], "c", "other"))
        for item, span, label in spans:
            writing.add(
                Annotation(
                    run_id=int(item.run[-1]) + 1, record_key=item.name, span_id=span, first=0, last=1, label=label,
                    severity=1, note="", author="ann", created_by="ann", time="", version=1,
                )
            )  # fmt: skip
    with store.read() as reading:
        yield reading
    store.close()


def ask(session: Session, query: object) -> set[str]:
    return set(found_ids(session, parse_query(query), RUNS))


def test_filters_are_or_within_a_facet_and_and_between_facets(session: Session) -> None:
    found = ask(session, {"filters": {"run": ["run0", "run2"], "verdict": ["false_success"]}})
    expected = {i.id for i in POOL if i.run in ("run0", "run2") and i.audit and i.success and not i.audit.real_success}
    assert found == expected
    assert expected


def test_a_facets_counts_are_what_choosing_a_value_would_find(session: Session) -> None:
    filters = {"run": ["run0"], "policy": ["p1"]}
    for facet in answer(session, parse_query({"filters": filters}), RUNS).facets:
        others = {key: values for key, values in filters.items() if key != facet["key"]}
        for value in facet["values"]:
            alone = {"filters": others | {facet["key"]: [value["key"]]}}
            assert value["count"] == len(ask(session, alone)), (facet["key"], value)
    shown = [facet["key"] for facet in answer(session, parse_query({}), RUNS).facets]
    assert shown == [facet.key for facet in FACETS]


def test_labels_are_counted_by_item_and_in_the_annotators_words(session: Session) -> None:
    (labels,) = (f for f in answer(session, parse_query({}), RUNS).facets if f["key"] == "label")
    titles = {label.key: label.title for label in LABELS}
    assert [(v["title"], v["count"]) for v in labels["values"]] == [(titles["teleports"], 1), (titles["other"], 2)]
    assert ask(session, {"filters": {"label": ["other", "teleports"]}}) == {POOL[5].id, POOL[9].id}


def test_a_chosen_value_stays_in_sight_even_when_nothing_is_left_of_it(session: Session) -> None:
    found = answer(session, parse_query({"filters": {"run": ["gone"]}}), RUNS)
    (run,) = (facet for facet in found.facets if facet["key"] == "run")
    assert {"key": "gone", "title": "gone", "count": 0, "on": True} in run["values"]
    assert (found.total, found.all) == (0, N)


def test_pages_hold_everything_once(session: Session) -> None:
    seen: list[str] = []
    first = answer(session, parse_query({"order": "depth"}), RUNS)
    for page in range(first.pages):
        seen += [item.id for item in answer(session, parse_query({"order": "depth", "page": page}), RUNS).items]
    assert seen == found_ids(session, parse_query({"order": "depth"}), RUNS)
    assert set(seen) == {item.id for item in POOL}
    assert len(seen) == N
    assert first.pages == -(-N // PAGE)
    assert answer(session, parse_query({"page": 10**6}), RUNS).page == first.pages - 1


def test_an_item_comes_back_as_it_went_in(session: Session) -> None:
    shown = answer(session, parse_query({"text": "n7"}), RUNS).items
    assert [item for item in shown if item.name == "n7"] == [POOL[7]]


def test_false_successes_come_first_and_the_farthest_first_of_them(session: Session) -> None:
    by_id = {item.id: item for item in POOL}
    found = [by_id[one] for one in found_ids(session, parse_query({}), RUNS)]
    ranks = ["false_success", "missed_success", "true_success", "true_failure", "not_audited"]
    places = [ranks.index(item.verdict) for item in found]
    assert places == sorted(places)
    peaks = [item.audit.peak for item in found if item.audit and item.verdict == "false_success"]
    assert peaks == sorted(peaks, reverse=True)
    assert len(peaks) > 5


def test_text_and_flags(session: Session) -> None:
    assert ask(session, {"text": " N77 "}) == {POOL[77].id}
    assert len(ask(session, {"text": "LIFT THE"})) == N
    assert ask(session, {"text": "%"}) == set(), "no wildcard"
    assert ask(session, {"flagged": True}) == {POOL[5].id, POOL[9].id}
    page = answer(session, parse_query({"flagged": True}), RUNS)
    assert (page.flagged, page.spans) == (2, {POOL[5].id: 2, POOL[9].id: 1})


def test_other_runs_are_out_of_sight(session: Session) -> None:
    assert answer(session, parse_query({}), frozenset({2})).all == sum(item.run == "run1" for item in POOL)


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
