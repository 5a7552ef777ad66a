"""The job kind that evaluates a checkpoint: its parameters, its questions, and real trials of a real policy."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.compare import compare_policies, evaluations, find_evaluation
from workbench.jobs.kinds import find_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.spec import JobSpec
from workbench.launching.evaluation import KIND, EvaluationParameters, main
from workbench.launching.evaluation_desk import EvaluationDesk
from workbench.launching.launcher import Launcher
from workbench.server.roles import Role, User
from workbench.store.checkpoints import checkpoints_of
from wovr_core.config import to_dict
from wovr_core.errors import WovrError
from wovr_core.files import read_json, write_json
from wovr_core.recipes import smoke

OPERATOR = User("olga", Role.OPERATOR)
POLICY = "0123456789ab"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": "../x"}, "version of a checkpoint"),
        ({"tasks": "0,1"}, "distinct indices"),
        ({"tasks": "0:0"}, "distinct indices"),
        ({"trials": 51}, "1 to 50"),
        ({"trials": 0}, "1 to 50"),
        ({"temperature": -1.0}, "from 0 to 10"),
        ({"temperature": float("nan")}, "from 0 to 10"),
        ({"max_steps": 0}, "1 to 10000"),
        ({"seed": -1}, "whole number from 0"),
    ],
)
def test_parameters_are_checked(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(WovrError, match=told):
        EvaluationParameters(**{"policy": POLICY, "tasks": "0:3", **changes})


def test_equal_questions_have_one_folder_and_others_another() -> None:
    one = EvaluationParameters(POLICY, "0:3")
    assert one.stage == EvaluationParameters(POLICY, "0:3").stage
    others = [
        EvaluationParameters(POLICY, "0"),
        EvaluationParameters(POLICY, "0:3", seed=1),
        EvaluationParameters("f" * 12, "0:3"),
    ]
    assert len({one.stage, *(o.stage for o in others)}) == 4
    spec = JobSpec(KIND, "mine", parameters={"policy": POLICY, "tasks": "0:3"})
    spec.check()
    assert spec.argv()[-2:] == ["mine", json.dumps({"policy": POLICY, "tasks": "0:3"})]
    kind = find_kind(KIND)
    assert kind.finished is not None
    assert kind.finished(spec) == f"runs/mine/{one.stage}/outputs.json"
    with pytest.raises(WovrError, match="needs the parameter tasks"):
        JobSpec(KIND, "mine", parameters={"policy": POLICY}).check()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EvaluationDesk]:
    """Over a run with one policy, in a home of its own."""
    home = tmp_path / "home"
    monkeypatch.setenv("WOVR_HOME", str(home))
    run = home / "runs" / "mine"
    write_json(run / "run.json", {"schema": 1, "recipe": "smoke", "config": to_dict(smoke())})
    write_json(run / "sft" / "policy" / "manifest.json", {"kind": "policy", "version": POLICY, "lineage": {}})
    outside = tmp_path / "outside"
    shutil.copytree(run, outside)
    return EvaluationDesk(Launcher(LocalBackend(home)), lambda: {"mine": run, "outside": outside})


def ask(desk: EvaluationDesk, **message: Any) -> dict[str, Any]:
    given = {
        "run": "mine",
        "policies": [POLICY],
        "tasks": [0],
        "trials": 2,
        "temperature": 1,
        "max_steps": 20,
        "seed": 0,
    }
    return desk.handle({**given, **message}, OPERATOR)


def test_the_desk_tells_what_can_be_evaluated(desk: EvaluationDesk) -> None:
    found = ask(desk, ask="runs")
    assert found["runs"] == [{"name": "mine", "policies": 1}], "a run elsewhere can be looked at, not worked in"
    found = ask(desk, ask="policies")
    assert found["policies"] == [{"version": POLICY, "title": f"base · {POLICY[:8]}", "stage": "sft"}]
    assert [t["own"] for t in found["tasks"]] == [True] + [False] * 9
    assert "alphabet soup" in found["tasks"][0]["instruction"]
    plan = ask(desk, ask="check")
    assert (plan["jobs"], plan["kept"], plan["refusals"]) == (1, 0, [])


@pytest.mark.security
@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"run": "../mine"}, "run"),
        ({"run": "outside"}, "run"),
        ({"run": None}, "run"),
        ({"policies": ["f" * 12]}, "policies"),
        ({"policies": ["../sft/policy"]}, "policies"),
        ({"policies": []}, "policies"),
        ({"policies": "x"}, "policies"),
        ({"policies": [POLICY] * 13}, "policies"),
        ({"tasks": []}, "tasks"),
        ({"tasks": ["0; reboot"]}, "tasks"),
        ({"tasks": [10]}, "tasks"),
        ({"trials": "many"}, "trials"),
        ({"trials": "51"}, "trials"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_steps": {}}, "max_steps"),
        ({"seed": "-1"}, "seed"),
    ],
)
def test_the_desk_refuses_by_field(desk: EvaluationDesk, message: dict[str, Any], field: str) -> None:
    for question in ("check", "evaluate"):
        assert field in ask(desk, ask=question, key="a-long-enough-key", **message)["fields"]
    assert not desk.launcher.jobs()


@pytest.mark.fault
def test_a_disk_error_is_an_answer(desk: EvaluationDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("workbench.launching.evaluation_desk.checkpoints_of", full)
    assert ask(desk, ask="runs") == {"error": "the disk says: No space left on device"}


@pytest.mark.slow
def test_real_trials_of_a_real_policy_that_are_not_made_twice(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    shutil.copytree(smoke_run, run)
    for entry in smoke_run.parent.parent.iterdir():  # the meshes and caches that are there already
        if entry.name not in ("runs", "jobs") and entry.is_dir():
            os.symlink(entry, tmp_path / entry.name)
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    base = checkpoints_of(run, "policy")[0]
    parameters = {"policy": base.version, "tasks": "0", "trials": 1, "max_steps": 8, "temperature": 1.0}
    description = read_json(run / "run.json")
    description["config"]["collect"]["no_longer_known"] = 1  # a run of another version can still be evaluated
    write_json(run / "run.json", description)
    assert main(["mine", json.dumps(parameters)]) == 0
    assert f"{base.version}: " in capsys.readouterr().out
    stage = EvaluationParameters(**parameters).stage  # type: ignore[arg-type]
    runs = {"mine": run}
    found = find_evaluation(runs, f"mine/{stage}")
    assert (found.policy, len(found.outcomes), found.max_steps) == (base.version, 1, 8)
    assert found.title == base.title
    made = (run / stage / "outputs.json").stat().st_mtime_ns
    assert main(["mine", json.dumps(parameters)]) == 0
    assert (run / stage / "outputs.json").stat().st_mtime_ns == made
    of_pipeline = next(e for e in evaluations(runs) if e.stage == "evaluate_base")
    assert "actions, the other" in compare_policies(of_pipeline, found).obstacles[0], "24 actions, against 8"
    assert main(["mine", json.dumps(parameters | {"policy": "f" * 12})]) == 2
    assert "unknown policy of the run mine" in capsys.readouterr().err
    assert main(["../mine", json.dumps(parameters)]) == 2
