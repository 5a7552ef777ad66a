"""Launchers over a home of their own, whose jobs are small."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec
from workbench.launching.launcher import Launcher, LaunchLimits
from workbench.server.roles import Role, User

_WORK = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1]); seconds = float(sys.argv[2]); code = int(sys.argv[3])
stage = run / "sft"; stage.mkdir(parents=True, exist_ok=True)
(stage / "config.json").write_text(json.dumps({"stage": "train_policy_sft", "config": {"steps": 400}, "inputs": {}}))
with (stage / "metrics.jsonl").open("a") as file:
    for step in range(0, 400, 20):
        line = {"phase": "training", "step": step, "loss": 1 / (1 + step), "seconds": step / 100}
        file.write(json.dumps(line) + chr(10))
print("awake", flush=True)
time.sleep(seconds)
print("\\x1b[31mover\\x1b[0m", flush=True)
sys.exit(code)
"""


@dataclass(frozen=True)
class TinyParameters:
    seconds: float = 0.0
    code: int = 0


def _argv(spec: JobSpec) -> list[str]:
    import os

    run = os.path.join(os.environ["WOVR_HOME"], "runs", spec.run)
    given = {"seconds": 0.0, "code": 0, **spec.parameters}
    return [sys.executable, "-c", _WORK, run, str(given["seconds"]), str(given["code"])]


register_kind(JobKind("tiny", "writes a curve", _argv, parameters=TinyParameters, stages=lambda spec: ["sft"]))

OPERATOR, VIEWER = User("olga", Role.OPERATOR), User("viktor", Role.VIEWER)
ANNOTATOR = User("anna", Role.ANNOTATOR)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty WOVR_HOME of a machine with 2 cores."""
    monkeypatch.setenv("WOVR_HOME", str(tmp_path / "home"))
    jobs = tmp_path / "home" / "jobs"
    jobs.mkdir(parents=True)
    Capacity(cores=2, memory_mb=8000).write(jobs)
    return tmp_path / "home"


@pytest.fixture
def launcher(home: Path) -> Iterator[Launcher]:
    """One whose jobs are all ended after the test."""
    backend = LocalBackend(home)
    yield Launcher(backend, limits=LaunchLimits(open_jobs=3))
    for status in backend.list():
        backend.stop(status.id)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(not s.state.ended for s in backend.list()):
        time.sleep(0.05)
