"""Jobs on Ray: the contract of all backends, and what is Ray's own."""

from __future__ import annotations

import importlib.util
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.processes import ProcessKey, family
from workbench.jobs.ray_backend import RayBackend
from workbench.jobs.ray_client import RayClient, RayUnreachableError

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def _contract() -> ModuleType:
    path = Path(__file__).parents[1] / "test_contract.py"
    spec = importlib.util.spec_from_file_location("jobs_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_CONTRACT = _contract()
run_metrics = _CONTRACT.run_metrics
globals().update({f"{name}_on_ray": value for name, value in vars(_CONTRACT).items() if name.startswith("test_")})


@pytest.fixture
def backend(ray_backend) -> RayBackend:
    return ray_backend


@pytest.mark.fault
def test_twenty_at_once_with_one_key_are_one_job(ray_backend, client, probe, home):
    spec = probe("count", note="started")
    others = [RayBackend(home, client) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        jobs = set(threads.map(lambda backend: backend.submit(spec, "key"), others))
    assert len(jobs) == 1
    (job,) = jobs
    assert contract.wait(ray_backend, job, 60).state is JobState.SUCCEEDED
    assert len((home / "started").read_text().splitlines()) == 1


@pytest.mark.fault
def test_a_submission_whose_answer_is_lost_is_adopted(home, client, probe, monkeypatch):
    """Ray takes the job, the connection breaks before it says so."""
    backend, asked = RayBackend(home, client), []
    request = client._request

    def lossy(method: str, path: str, **given):
        answer = request(method, path, **given)
        if method == "POST" and path == "/api/jobs/":
            asked.append(given["json"]["submission_id"])
            raise RayUnreachableError("the line is cut")
        return answer

    monkeypatch.setattr(client, "_request", lossy)
    job = backend.submit(probe("count", note="started"), "key")
    assert contract.wait(backend, job, 60).state is JobState.SUCCEEDED
    assert len(asked) == 1
    assert len((home / "started").read_text().splitlines()) == 1


@pytest.mark.fault
def test_what_ray_never_confirmed_is_handed_over_later(home, client, probe, monkeypatch):
    """The submitter dies, or gives up, before Ray has heard of the job."""
    monkeypatch.setattr("workbench.jobs.ray_client._PAUSES", ())
    deaf = RayClient("http://127.0.0.1:9", "t", timeout=1.0)
    deaf.require_token_auth = lambda: None
    deaf.capacity = client.capacity
    with pytest.raises(RayUnreachableError, match="does not answer"):
        RayBackend(home, deaf).submit(probe("count", note="started"), "key")
    later = RayBackend(home, client)
    (job,) = later.adopt()
    assert contract.wait(later, job, 60).state is JobState.SUCCEEDED
    assert later.adopt() == []
    assert len((home / "started").read_text().splitlines()) == 1


@pytest.mark.fault
def test_stopping_ends_grandchildren_in_sessions_of_their_own(ray_backend, probe, awake):
    job = ray_backend.submit(probe("brood", seconds=60), "k")
    awake(ray_backend, job, timeout=60)
    assert len(family(job, [])) >= 4
    began = time.monotonic()
    ray_backend.stop(job)
    assert contract.wait(ray_backend, job, 20).state is JobState.CANCELLED
    assert time.monotonic() - began < 12
    assert family(job, []) == []


@pytest.mark.fault
def test_a_killed_supervisor_is_noticed_and_leaves_nothing_behind(ray_backend, probe, awake):
    job = ray_backend.submit(probe("brood", seconds=60), "k")
    awake(ray_backend, job, timeout=60)
    ProcessKey(*json.loads((ray_backend.jobs / job / "state.json").read_text())["supervisor"]).signal(signal.SIGKILL)
    status = contract.wait(ray_backend, job, 60)
    assert status.state is JobState.LOST
    assert "its supervisor ended before it did" in status.reason
    assert family(job, []) == []


def test_a_robot_serves_one_job_at_a_time(ray_backend, probe, until, awake):
    first = ray_backend.submit(probe("polite", run="a", custom={"franka_1": 1}), "a")
    awake(ray_backend, first, timeout=60)
    second = ray_backend.submit(probe("say", run="b", count=1, custom={"franka_1": 1}), "b")
    time.sleep(2.0)
    status = ray_backend.status(second)
    assert (status.state, status.reason) == (JobState.QUEUED, "waits for resources of the Ray cluster")
    third = ray_backend.submit(probe("say", run="c", count=1, custom={"franka_1": 1}), "c")
    ray_backend.stop(third)
    assert ray_backend.status(third).state is JobState.CANCELLED
    ray_backend.stop(first)
    assert contract.wait(ray_backend, second, 60).state is JobState.SUCCEEDED
    assert "attempt" not in ray_backend.logs(third).text  # it never ran


def test_nothing_is_uploaded_and_nothing_secret_goes_along(ray_backend, client, probe, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = ray_backend.submit(probe("environment"), "k")
    assert contract.wait(ray_backend, job, 60).state is JobState.SUCCEEDED
    (told,) = client._request("GET", "/api/jobs/").json()[-1:]
    assert "working_dir" not in json.dumps(told["runtime_env"])
    assert "secret" not in json.dumps(told)
    variables = ray_backend.logs(job).text
    assert "WANDB_MODE" in variables
    assert "WOVR_JOB_ID" in variables


@pytest.mark.fault
def test_two_homes_on_one_cluster_do_not_take_each_others_jobs(ray_backend, client, probe, tmp_path):
    first = ray_backend.submit(probe("exit", count=7), "key")
    assert contract.wait(ray_backend, first, 60).exit_code == 7
    other = RayBackend(tmp_path / "other", client)
    second = other.submit(probe("exit", count=7), "key")
    assert second != first
    assert not other.status(second).state.ended
    assert contract.wait(other, second, 60).exit_code == 7
