"""Runs become rows: what is there, what is read again, what is broken, what was made from what. On both databases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from workbench.store import indexer as indexing
from workbench.store.checkpoints import find_checkpoints, find_edges
from workbench.store.indexer import Indexer, UpdateOptions
from workbench.store.lineage import ancestors
from workbench.store.rows import items_of
from workbench.store.run_rows import note_missing
from workbench.store.search import Search, page
from workbench.store.status import status, verify
from workbench.store.store import Store
from workbench.store.tables import AuditRow, EpisodeRow, Record, RolloutRow, Run
from wovr_core.data.episode_files import EpisodeSet, write_rollout
from wovr_core.files import sha256_file, write_json

MakeRun = Callable[..., Path]
THOROUGH = UpdateOptions(thorough=True)


def ids(store: Store, **search: object) -> tuple[str, ...]:
    with store.read() as session:
        return page(session, Search(**search), 100).ids  # type: ignore[arg-type]


def test_a_run_becomes_rows(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    report = Indexer(store).update([run])
    assert (report.runs, report.read, report.unchanged, report.broken, report.problems) == (1, 8, 0, [], [])
    with store.read() as session:
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (RolloutRow, EpisodeRow, AuditRow)]
        (false,) = items_of(session, ["a/imagine/r-false"])
        start = session.execute(select(RolloutRow.start_episode, RolloutRow.start_step, RolloutRow.group_id)).first()
    assert counts == [6, 2, 4]
    assert start == ("e0", 5, "g0")
    assert false.verdict == "false_success"
    assert false.replay == run / "audit" / "episodes" / "r-false.safetensors"
    assert false.audit is not None
    assert (false.audit.first_divergent, false.audit.peak) == (20, 40.0)
    assert max(false.audit.curve) == 40.0
    assert ids(store, filters={"verdict": frozenset({"false_success"})}) == ("a/imagine/r-false",)


def test_only_what_has_changed_is_read(
    store: Store, make_run: MakeRun, make_rollout: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, "a")
    Indexer(store).update([run])
    read: list[str] = []
    original = indexing.read_item
    monkeypatch.setattr(
        indexing, "read_item", lambda key, file, names: (read.append(file.path.stem), original(key, file, names))[1]
    )
    again = Indexer(store).update([run], THOROUGH)
    assert (again.read, again.unchanged, read) == (0, 8, [])
    write_rollout(run / "rl" / "rollouts", make_rollout("rl-0", chunks=3))
    write_rollout(run / "rl" / "rollouts", make_rollout("rl-9", chunks=3))
    (run / "collect" / "episodes" / "e0.safetensors").unlink()
    third = Indexer(store).update([run], THOROUGH)
    assert (third.read, third.removed, sorted(read)) == (2, 1, ["rl-0", "rl-9"])
    assert "a/collect/e0" not in ids(store)
    with store.read() as session:
        assert items_of(session, ["a/rl/rl-0"])[0].length == 24


def test_an_audit_that_comes_later_is_taken_in(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    rows = (run / "audit" / "rows.json").read_text()
    (run / "audit" / "rows.json").unlink()
    indexer = Indexer(store)
    indexer.update([run])
    assert ids(store, filters={"verdict": frozenset({"false_success"})}) == ()
    (run / "audit" / "rows.json").write_text(rows)
    assert indexer.update([run]).read == 0
    assert ids(store, filters={"verdict": frozenset({"false_success"})}) == ("a/imagine/r-false",)


def test_an_interrupted_update_goes_on_where_it_was(
    store: Store, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BATCH", 3)
    run = make_run(tmp_path, "a")
    stopped = Indexer(store).update([run], UpdateOptions(stop=lambda: True))
    assert stopped.read == 3
    rest = Indexer(store).update([run])
    assert (rest.read, rest.unchanged) == (5, 3)
    assert len(ids(store)) == 8


@pytest.mark.fault
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other kind"])
def test_a_corrupt_episode_among_good_ones_is_named_and_the_rest_is_there(
    store: Store, make_run: MakeRun, tmp_path: Path, damage: str
) -> None:
    run = make_run(tmp_path, "a")
    victim = run / "collect" / "episodes" / "e1.safetensors"
    data = victim.read_bytes()
    bad = {"cut": data[: len(data) // 2], "empty": b"", "noise": bytes(range(256)) * 20}
    if damage == "other kind":
        shutil.copy(run / "rl" / "rollouts" / "rl-0.safetensors", victim)
    else:
        victim.write_bytes(bad[damage])
    report = Indexer(store).update([run])
    assert [record for record, _ in report.broken] == ["a/collect/e1"]
    assert "e1.safetensors" in report.broken[0][1]
    assert len(ids(store)) == 8
    assert status(store)["broken"] == [["a/collect/e1", report.broken[0][1]]]
    victim.write_bytes(data)
    assert Indexer(store).update([run]).broken == []
    assert status(store)["broken"] == []


@pytest.mark.fault
def test_a_broken_run_is_named_and_the_others_are_there(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    good, bad = make_run(tmp_path, "good"), make_run(tmp_path, "bad")
    (bad / "run.json").write_text("{")
    report = Indexer(store).update([bad, good])
    assert [run for run, _ in report.problems] == ["bad"]
    assert len(ids(store, filters={"run": frozenset({"good"})})) == 8
    assert [run for run, _ in status(store)["problems"]] == ["bad"]


def test_a_run_that_vanishes_is_remembered(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    Indexer(store).update([run])
    run.rename(tmp_path / "elsewhere")
    assert note_missing(store) == ["a"]
    assert status(store)["missing"] == ["a"]
    (tmp_path / "elsewhere").rename(run)
    Indexer(store).update([run])
    assert note_missing(store) == []
    assert len(ids(store)) == 8


def test_digests_come_from_the_stages_index_and_tell_damage(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    EpisodeSet(run / "rl" / "rollouts").write_index()
    Indexer(store).update([run])
    with store.read() as session:
        kept = dict(session.execute(select(Record.id, Record.sha256)).all())
    victim = run / "rl" / "rollouts" / "rl-1.safetensors"
    assert kept["a/rl/rl-1"] == sha256_file(victim)
    assert kept["a/collect/e0"] is None
    first = verify(store)
    assert (first.checked, first.first_time, first.damaged) == (8, 6, [])
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1  # one bit of a picture: nothing else would notice
    victim.write_bytes(data)
    assert [record for record, _ in verify(store).damaged] == ["a/rl/rl-1"]
    victim.unlink()
    told: list[int] = []
    assert "cannot be read" in verify(store, lambda done, _: told.append(done)).damaged[0][1]
    assert told == list(range(1, 9)), "one that is gone is counted as looked at"


def lineage_run(run: Path) -> None:
    """sft -> p1; world model w1; reward c1 from w1; rl: p2 from p1, w1, c1; rollouts i1 from p2."""
    made = {
        ("sft", "policy", "p1"): {"demonstrations": "e1"},
        ("world_model", "world_model", "w1"): {"episodes": "e1,e2"},
        ("reward", "reward", "c1"): {"episodes": "e1,e2", "world_model": "w1"},
        ("rl", "policy", "p2"): {"parent": "p1", "world_model": "w1", "reward": "c1", "seed": "0"},
    }
    for (stage, kind, version), lineage in made.items():
        record = {"kind": kind, "version": version, "lineage": lineage, "schema": 1}
        write_json(run / stage / kind / "manifest.json", record)
    write_json(run / "imagine" / "config.json", {"inputs": {"policy": "p2", "world_model": "w1", "seed": "0"}})
    write_json(run / "imagine" / "outputs.json", {"outputs": {"rollouts": "x", "version": "i1"}, "seconds": 1})


def test_what_was_made_from_what(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    lineage_run(run)
    edges = {(e.child, e.role, e.parent) for e in find_edges(run, find_checkpoints(run))}
    assert {("p2", "parent", "p1"), ("p2", "reward", "c1"), ("c1", "world_model", "w1"), ("i1", "policy", "p2"),
            ("w1", "episodes", "e2")} <= edges  # fmt: skip
    assert not any("seed" in edge for edge in edges)
    Indexer(store).update([run])
    with store.read() as session:
        found = {(edge.child, edge.parent) for edge in ancestors(session, "i1")}
        item = items_of(session, ["a/imagine/r-true"])[0]
    assert found == {(child, parent) for child, _, parent in edges}, "everything leads to i1 here"
    assert item.policy == "base · p1", "named after the stage that made it"
    assert dict(item.versions)["world_model"] == "first · w1"


def test_a_cycle_in_the_lineage_ends(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    for name, parent in (("x", "y"), ("y", "x")):
        record = {"kind": "policy", "version": name, "lineage": {"parent": parent}}
        write_json(run / f"stage_{name}" / "policy" / "manifest.json", record)
    Indexer(store).update([run])
    with store.read() as session:
        assert len(ancestors(session, "x")) == 2


def test_two_runs_of_one_name_keep_theirs(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "one", "same"), make_run(tmp_path / "two", "same")
    Indexer(store).update([first])
    Indexer(store).update([second, first])
    with store.read() as session:
        assert dict(session.execute(select(Run.path, Run.key)).all()) == {str(first): "same", str(second): "same~2"}
    assert len(ids(store)) == 16


def test_jobs_are_indexed_by_their_folders(store: Store, tmp_path: Path) -> None:
    from workbench.jobs.records import JobFolder, State
    from workbench.store.job_rows import update_jobs
    from workbench.store.tables import JobRow

    jobs = tmp_path / "jobs"
    for name in ("j1", "j2"):
        job = {"schema": 1, "id": name, "key": name, "spec": {"kind": "pipeline"}, "argv": [], "submitted_at": 5.0}
        write_json(jobs / name / "job.json", job)
        JobFolder(jobs / name).write_state(State(state="running"))
    (jobs / "j2" / "state.json").write_text(json.dumps([]))
    assert update_jobs(store, jobs) == 2
    with store.read() as session:
        rows = [(row.id, row.kind, row.state) for row in session.scalars(select(JobRow))]
    assert rows == [("j1", "pipeline", "running")], "one that cannot be read is passed over"
    JobFolder(jobs / "j1").write_state(State(state="succeeded", exit_code=0))
    shutil.rmtree(jobs / "j2")
    assert update_jobs(store, jobs) == 1
    with store.read() as session:
        row = session.scalars(select(JobRow)).one()
    assert (row.state, row.facts["exit_code"]) == ("succeeded", 0)
