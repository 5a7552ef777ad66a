"""Finding runs and reading them by headers: what is there, what is broken, what has changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig, find_runs, newest
from workbench.store import run_items
from workbench.store.items import AUDITED, PRACTICE, REAL
from wovr_core.data.episode_files import write_rollout

MakeRun = Callable[..., Path]


def catalogue(runs: Path, *paths: Path) -> Catalogue:
    return Catalogue(CatalogueConfig(runs=runs, paths=paths, seconds=0.0, patience=60.0))


def test_every_rollout_and_episode_is_found_with_its_verdict(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    items = catalogue(tmp_path).items()
    assert {item.id: item.verdict for item in items if item.kind == AUDITED} == {
        "a/imagine/r-true": "true_success",
        "a/imagine/r-false": "false_success",
        "a/imagine/r-missed": "missed_success",
        "a/imagine/r-failed": "true_failure",
    }
    assert {item.id: item.outcome for item in items if item.kind == PRACTICE} == {
        "a/rl/rl-0": "imagined_failure",
        "a/rl/rl-1": "imagined_success",
    }
    assert {item.id: item.outcome for item in items if item.kind == REAL} == {
        "a/collect/e0": "failed",
        "a/collect/e1": "succeeded",
    }


def test_depth_divergence_and_evidence_come_from_the_data(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    found = catalogue(tmp_path)
    false = found.find("a/imagine/r-false")
    assert false is not None
    assert (false.depth, false.length, false.frames) == (12, 32, 33)
    assert false.audit is not None
    assert false.audit.first_divergent == 20
    assert false.audit.peak == pytest.approx(40.0)
    failed = found.find("a/imagine/r-failed")
    assert failed is not None
    assert failed.audit is not None
    assert (failed.depth, failed.audit.first_divergent, failed.audit.peak) == (32, None, 0.0)
    assert false.depth_range == "1-16"
    assert failed.depth_range == "17-32"


def test_versions_are_called_by_the_stage_that_made_them(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    for stage, what, version in (("sft", "policy", "p1"), ("refine", "world_model", "w1"), ("rl", "policy", "p1")):
        (run / stage / what).mkdir(parents=True)
        (run / stage / what / "manifest.json").write_text(json.dumps({"version": version}))
    item = catalogue(tmp_path).find("a/imagine/r-true")
    assert item is not None
    assert (item.policy, item.world_model) == ("base · p1", "refined · w1")
    assert dict(item.versions)["reward"] == "c1"


@pytest.mark.fault
@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "other"])
def test_a_broken_rollout_is_named_among_the_good_ones(make_run: MakeRun, tmp_path: Path, damage: str) -> None:
    run = make_run(tmp_path, "a")
    victim = run / "imagine" / "rollouts" / "r-false.safetensors"
    data = victim.read_bytes()
    if damage == "other":
        shutil.copy(run / "collect" / "episodes" / "e0.safetensors", victim)
    else:
        noise = np.random.default_rng(0).bytes(4000)
        victim.write_bytes({"cut": data[:-500], "noise": noise, "empty": b""}[damage])
    items = {item.id: item for item in catalogue(tmp_path).items()}
    assert len(items) == 8
    assert [item.id for item in items.values() if item.broken] == ["a/imagine/r-false"]
    broken = items["a/imagine/r-false"]
    assert broken.outcome == "unreadable"
    assert broken.broken is not None
    assert "r-false.safetensors" in broken.broken
    assert str(tmp_path) not in broken.broken, "the reason fits on a card"
    assert broken.card(0)["picture"] is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("path", "content"),
    [("run.json", "{"), ("audit/rows.json", '[{"rollout_id": 3}]'), ("audit/rows.json", "[[]]"), ("run.json", "[]")],
)
def test_a_broken_run_is_named_and_the_others_are_shown(
    make_run: MakeRun, tmp_path: Path, path: str, content: str
) -> None:
    make_run(tmp_path, "good")
    (make_run(tmp_path, "bad") / path).write_text(content)
    found = catalogue(tmp_path)
    assert {item.run for item in found.items()} == {"good"}
    (problem,) = found.problems()
    assert problem.run == "bad"
    assert problem.reason


def test_changes_on_the_disk_are_seen_and_the_rest_is_not_read_again(
    make_run: MakeRun, make_rollout: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, "a")
    found = catalogue(tmp_path)
    assert len(found.items()) == 8
    read: list[str] = []
    original = run_items.read_rollout_summary
    monkeypatch.setattr(run_items, "read_rollout_summary", lambda path: (read.append(path.stem), original(path))[1])
    assert len(found.items()) == 8
    assert read == []
    folder = run / "rl" / "rollouts"
    write_rollout(folder, make_rollout("rl-2", chunks=2))
    before = found.find("a/rl/rl-0")
    write_rollout(folder, make_rollout("rl-0", chunks=3))
    (folder / "rl-1.safetensors").unlink()
    ids = {item.id for item in found.items()}
    assert "a/rl/rl-2" in ids
    assert "a/rl/rl-1" not in ids
    assert sorted(read) == ["rl-0", "rl-2"]
    after = found.find("a/rl/rl-0")
    assert before is not None
    assert after is not None
    assert after.length == 24
    assert found.pictured(before.stamp) is None, "an old picture's name leads nowhere"


@pytest.mark.security
@pytest.mark.parametrize(
    "name", ["../a/imagine/r-true", "a/imagine/../imagine/r-true", "/etc/passwd", "a/imagine/r-true.safetensors", ""]
)
def test_ids_are_looked_up_never_joined(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    make_run(tmp_path, "a")
    found = catalogue(tmp_path)
    assert found.items()
    assert found.find(name) is None
    assert found.pictured(name) is None


def test_runs_of_one_name_are_told_apart(make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run(tmp_path / "one", "same")
    os.utime(first / "run.json", (1, 1))
    second = make_run(tmp_path / "two", "same")
    runs, problems = find_runs(CatalogueConfig(runs=tmp_path / "one", paths=(second, tmp_path / "nothing")))
    assert runs == {second.resolve(): "same", first.resolve(): "same~2"}, "the newest keeps its name"
    assert [problem.run for problem in problems] == ["nothing"]
    assert len(catalogue(tmp_path / "one", tmp_path / "two").items()) == 16


def test_the_newest_run_of_a_recipe(make_run: MakeRun, tmp_path: Path) -> None:
    assert newest("demo", tmp_path) is None
    for age, (name, recipe) in enumerate([("new", "cpu"), ("middle", "demo"), ("old", "demo")]):
        run = make_run(tmp_path, name, recipe)
        os.utime(run / "run.json", (1000 - age, 1000 - age))
    assert newest("demo", tmp_path) == (tmp_path / "middle").resolve()
    assert newest(None, tmp_path) == (tmp_path / "new").resolve()


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    found = catalogue(tmp_path / "none")
    assert found.items() == []
    assert found.problems() == []
