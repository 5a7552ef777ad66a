"""A kind of job for tests, and a home with nothing else in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.jobs.backend import JobBackend, JobId, JobState
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.processes import family
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec, Resources

PROBE = Path(__file__).parent / "probe.py"


@dataclass(frozen=True)
class ProbeParameters:
    mode: str
    seconds: float = 0.0
    count: int = 0
    note: str = "-"


def _argv(spec: JobSpec) -> list[str]:
    p = {"seconds": 0.0, "count": 0, "note": "-", **spec.parameters}
    note = os.path.join(os.environ["WOVR_HOME"], str(p["note"]))
    return [sys.executable, str(PROBE), str(p["mode"]), str(p["seconds"]), str(p["count"]), note]


register_kind(JobKind("probe", "does one simple thing", _argv, parameters=ProbeParameters))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty WOVR_HOME of a machine with 4 cores."""
    monkeypatch.setenv("WOVR_HOME", str(tmp_path / "home"))
    jobs = tmp_path / "home" / "jobs"
    jobs.mkdir(parents=True)
    Capacity(cores=4, memory_mb=8000, gpus=0, custom={"franka_1": 1}).write(jobs)
    return tmp_path / "home"


@pytest.fixture
def local(home: Path) -> Iterator[LocalBackend]:
    """A backend whose jobs are all ended after the test."""
    backend = LocalBackend(home)
    yield backend
    for status in backend.list():
        backend.stop(status.id)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and any(not s.state.ended for s in backend.list()):
        time.sleep(0.05)
    assert not [s for s in backend.list() if not s.state.ended]
    while time.monotonic() < deadline and any(family(s.id, []) for s in backend.list()):
        time.sleep(0.05)  # the last of them, the supervisor itself, goes right after it has written the end
    for status in backend.list():
        assert family(status.id, []) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def probe() -> Callable[..., JobSpec]:
    """A spec of the tests' kind: probe("sleep", seconds=5, cores=2, run="r", priority=1, retries=1)."""

    def make(mode: str, run: str = "r", **given: object) -> JobSpec:
        parameters = {k: given.pop(k) for k in ("seconds", "count", "note") if k in given}
        resources = {k: given.pop(k) for k in ("cores", "memory_mb", "gpus", "custom") if k in given}
        resources.setdefault("memory_mb", 100)
        return JobSpec("probe", run, parameters={"mode": mode, **parameters}, resources=Resources(**resources), **given)

    return make


def until(backend: JobBackend, job: JobId, *states: JobState, timeout: float = 20.0):
    """Its status once it is in one of these states."""
    deadline = time.monotonic() + timeout
    while (status := backend.status(job)).state not in states:
        assert time.monotonic() < deadline, f"{status.state} ({status.reason}), not {states}"
        assert not status.state.ended, f"{status.state}: {status.reason}"
        time.sleep(0.02)
    return status


def awake(backend: JobBackend, job: JobId, text: str = "awake", timeout: float = 20.0) -> None:
    """Until its log has this text."""
    deadline = time.monotonic() + timeout
    while text not in backend.logs(job).text:
        assert time.monotonic() < deadline, backend.logs(job).text
        time.sleep(0.02)


@pytest.fixture(name="until")
def _until() -> Callable[..., object]:
    return until


@pytest.fixture(name="awake")
def _awake() -> Callable[..., object]:
    return awake
