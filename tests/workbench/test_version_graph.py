"""The graph of versions: who made what, over runs; placed behind what it was made from; counted from the records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.store.checkpoints import checkpoints_of
from workbench.store.rows import titles_of
from workbench.store.tables import LineageRow
from workbench.version_graph import Graph, runs_with_lineage, version_graph


def checkpoint(run: Path, stage: str, kind: str, version: str, **lineage: str) -> None:
    folder = run / stage / kind
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(
        json.dumps({"kind": kind, "version": version, "lineage": lineage, "files": {}})
    )


@pytest.fixture
def catalogue(tmp_path: Path, make_run: Callable[..., Path]) -> Catalogue:
    """Run a: p0 from demonstrations, w1 from episodes, c1 with w1, p1 by practice. Run b goes on from p1."""
    a, b = make_run(tmp_path, "a"), make_run(tmp_path, "b")
    checkpoint(a, "sft", "policy", "p0", demonstrations="e0", seed="3")
    checkpoint(a, "world_model", "world_model", "w1", episodes="e0,e1")
    checkpoint(a, "reward", "reward", "c1", world_model="w1", episodes="e0")
    checkpoint(a, "rl", "policy", "p1", parent="p0", world_model="w1", reward="c1")
    checkpoint(b, "rl", "policy", "p2", parent="p1", world_model="w1", reward="c1")
    return Catalogue(CatalogueConfig(runs=tmp_path))


def graph_of(catalogue: Catalogue, run: str | None = None) -> Graph:
    shown = catalogue.run_ids()
    with catalogue.store.read() as session:
        return version_graph(session, shown, run)


def test_who_made_what_over_runs(catalogue: Catalogue) -> None:
    graph = graph_of(catalogue)
    edges = {(edge.parent, edge.child, edge.role) for edge in graph.edges}
    assert {
        ("p0", "p1", "parent"),
        ("w1", "p1", "world_model"),
        ("c1", "p1", "reward"),
        ("p1", "p2", "parent"),
    } <= edges
    assert ("3", "p0", "seed") not in edges
    made = {node.id: [(place.run, place.stage) for place in node.made] for node in graph.nodes}
    assert made["policy:p2"] == [("b", "rl")]
    assert made["policy:p1"] == [("a", "rl")]
    assert made["episodes:e0"] == []
    titles = {node.id: node.title for node in graph.nodes}
    assert titles["policy:p0"] == "base · p0"
    assert titles["episodes:e0"].startswith("real episodes")


def test_a_version_from_elsewhere_is_called_by_its_kind(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path, "c")
    checkpoint(run, "rl_evolved", "policy", "p9", parent="0123456789ab", world_model="w9", reward="c9")
    titles = {node.id: node.title for node in graph_of(Catalogue(CatalogueConfig(runs=tmp_path))).nodes}
    assert titles["policy:0123456789ab"] == "policy · 01234567"
    assert titles["world_model:w9"] == "world model · w9"
    assert titles["reward:c9"] == "reward classifier · c9"


def test_a_version_is_called_by_the_stage_that_made_it_first(catalogue: Catalogue, tmp_path: Path) -> None:
    """A refinement that was no better hands on the world model it had: it is the first one still."""
    checkpoint(tmp_path / "a", "refine", "world_model", "w1", episodes="e0,e1")
    found = checkpoints_of(tmp_path / "a", "world_model")
    assert [(c.stage, c.version) for c in found] == [("world_model", "w1")]
    at = {node.id: node.title for node in graph_of(catalogue).nodes}
    assert at["world_model:w1"] == "first · w1"
    with catalogue.store.read() as session:
        assert titles_of(session, catalogue.run_ids())["world_model", "w1"] == "first · w1"


def test_practice_that_left_the_policy_as_it_was_did_not_make_it(catalogue: Catalogue, tmp_path: Path) -> None:
    checkpoint(tmp_path / "a", "rl_evolved", "policy", "p0", parent="p0", world_model="w1", reward="c1")
    graph = graph_of(catalogue)
    at = {node.id: node for node in graph.nodes}
    assert at["policy:p0"].x == 1, "behind its demonstrations alone"
    assert {edge.parent for edge in graph.edges if edge.child == "p0"} == {"e0"}
    assert [place.stage for place in at["policy:p0"].made] == ["sft"]


def test_everything_stands_behind_what_it_was_made_from(catalogue: Catalogue) -> None:
    graph = graph_of(catalogue)
    at = {node.id: node for node in graph.nodes}
    for edge in graph.edges:
        assert at[f"{edge.parent_kind}:{edge.parent}"].x < at[f"{edge.child_kind}:{edge.child}"].x
    assert [at[f"policy:p{i}"].x for i in range(3)] == [1, 3, 4]
    assert len({(node.x, node.y) for node in graph.nodes}) == len(graph.nodes), "none covers another"
    heights = [y for _, y in graph.lanes]
    assert heights == sorted(heights, reverse=True)
    assert [node.kind for node in graph.nodes][:3] == ["policy"] * 3


def test_one_run_shows_what_it_came_from_elsewhere(catalogue: Catalogue) -> None:
    ids = {node.id for node in graph_of(catalogue, "b").nodes}
    assert {"policy:p2", "policy:p1", "policy:p0", "world_model:w1", "episodes:e1"} <= ids
    assert {node.id for node in graph_of(catalogue, "none").nodes} == set()
    with catalogue.store.read() as session:
        assert sorted(runs_with_lineage(session, catalogue.run_ids())) == ["a", "b"]
        assert runs_with_lineage(session, []) == []


def test_uses_and_false_successes_are_counted_from_the_records(catalogue: Catalogue) -> None:
    at = {node.id: node for node in graph_of(catalogue).nodes}
    world_model = at["world_model:w1"]
    assert (world_model.audited, world_model.false) == (4, 2), "one true and one false success in each of two runs"
    assert world_model.used == 8
    assert at["policy:p0"].audited == 0


def test_a_circle_and_a_long_chain_are_drawn_too(catalogue: Catalogue) -> None:
    run = sorted(catalogue.run_ids())[0]
    with catalogue.store.write() as session:
        for i in range(1500):
            row = {"run_id": run, "stage": "rl", "child_kind": "policy", "role": "parent", "parent_kind": "policy"}
            session.add(LineageRow(**row, child=f"n{i + 1}", parent=f"n{i}"))
        session.add(
            LineageRow(
                run_id=run, stage="x", child_kind="reward", child="r1", role="parent", parent_kind="reward", parent="r2"
            )
        )
        session.add(
            LineageRow(
                run_id=run, stage="x", child_kind="reward", child="r2", role="parent", parent_kind="reward", parent="r1"
            )
        )
    graph = graph_of(catalogue)
    at = {node.id: node for node in graph.nodes}
    assert at["policy:n1500"].x == 1500
    assert at["reward:r1"].x != at["reward:r2"].x
    assert graph.left_out == 0
    assert json.dumps(graph.to_json())
