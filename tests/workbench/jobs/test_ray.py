"""Jobs on Ray: the contract, what is Ray's own, and fan-out. One cluster for all of them: keep all Ray tests here."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import requests
import torch
from filelock import FileLock

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.processes import ProcessKey, family
from workbench.jobs.ray_backend import RayBackend
from workbench.jobs.ray_client import RayAuthError, RayClient, RayUnreachableError
from workbench.jobs.ray_cluster import (
    Cluster,
    ClusterConfig,
    cluster_folder,
    find_cluster,
    start_cluster,
    stop_cluster,
)
from workbench.jobs.ray_pool import RayPool, connected
from wovr_core import recipes
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.envs.pool import EnvPool, JobError
from wovr_core.errors import WovrError
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, save_model
from wovr_core.policy.tiny_vla import build as build_policy
from wovr_core.reward.calibration import Calibration
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages import evaluate, imagine
from wovr_core.stages.evaluate import EvaluateInputs
from wovr_core.stages.imagine import ImagineInputs, ImagineJob, Simulator, imagine_batch
from wovr_core.world_model.model import build as build_world_model

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = ClusterConfig(cpus=4, memory_mb=8000, custom={"franka_1": 1}, object_store_mb=80, start_seconds=400)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Shared by the processes of a test run: the first that wants it starts it, the last that leaves stops it."""
    pytest.importorskip("ray")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ray_cluster"
    folder.mkdir(exist_ok=True)
    lock, users = FileLock(folder / "users.lock"), folder / "users"
    with lock:
        shared = find_cluster(folder) or start_cluster(folder, CONFIG)
        users.write_text(str(int(users.read_text() or 0) + 1 if users.exists() else 1))
    yield shared
    with lock:
        left = int(users.read_text()) - 1
        users.write_text(str(left))
        if left == 0:
            stop_cluster(shared)
            assert family(shared.id, []) == []
            assert not Path(shared.temporary).exists()


@pytest.fixture
def client(cluster) -> RayClient:
    return RayClient(cluster.address, cluster.token, timeout=60.0)


@pytest.fixture
def ray_backend(home, client) -> Iterator[RayBackend]:
    """A backend whose jobs are all ended after the test."""
    backend = RayBackend(home, client)
    yield backend
    for status in backend.list():
        backend.stop(status.id)
    for status in backend.list():
        contract.wait(backend, status.id, 60)
        assert family(status.id, []) == []


# -- what every backend promises


def _contract() -> ModuleType:
    path = Path(__file__).with_name("test_contract.py")
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


# -- what is Ray's own


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


def test_a_cluster_asks_everybody_for_the_token(cluster, client):
    assert requests.get(f"{cluster.address}/api/jobs/", timeout=30).status_code == 401
    client.require_token_auth()
    with pytest.raises(RayAuthError, match="does not take this token"):
        RayClient(cluster.address, "wrong", timeout=30.0).job("x")


@pytest.mark.fault
def test_two_homes_on_one_cluster_do_not_take_each_others_jobs(ray_backend, client, probe, tmp_path):
    first = ray_backend.submit(probe("exit", count=7), "key")
    assert contract.wait(ray_backend, first, 60).exit_code == 7
    other = RayBackend(tmp_path / "other", client)
    second = other.submit(probe("exit", count=7), "key")
    assert second != first
    assert not other.status(second).state.ended
    assert contract.wait(other, second, 60).exit_code == 7


# -- a head that dies


@pytest.mark.fault
def test_a_head_that_dies(home, probe, awake):
    """Jobs count as lost in bounded time, nothing of them runs on, and after a restart they are run again."""
    pytest.importorskip("ray")
    config = replace(CONFIG, custom={})
    cluster = start_cluster(cluster_folder(home), config)
    try:
        backend = RayBackend(home, patience=3.0)
        done = backend.submit(probe("say", count=1, run="a"), "done")
        assert contract.wait(backend, done, 60).state is JobState.SUCCEEDED
        job = backend.submit(probe("brood", seconds=120, run="b"), "key")
        awake(backend, job, timeout=60)

        for key in family(cluster.id, []):
            key.signal(signal.SIGKILL)
        began = time.monotonic()
        status = contract.wait(backend, job, 30)
        assert status.state is JobState.LOST
        assert "does not answer" in status.reason
        assert time.monotonic() - began < 20
        assert backend.status(done).state is JobState.SUCCEEDED  # its own word, on the shared file system
        deadline = time.monotonic() + 20
        while family(job, []) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert family(job, []) == []
        with pytest.raises(WovrError, match="does not answer"):
            backend.submit(probe("say", count=1, run="c"), "other")
    finally:
        stop_cluster(cluster)
    cluster = start_cluster(cluster_folder(home), config)
    try:
        backend = RayBackend(home)
        status = backend.status(job)
        assert (status.state, status.attempt) == (JobState.LOST, 1)
        assert "has forgotten it" in status.reason
        assert backend.submit(probe("brood", seconds=120, run="b"), "key") == job  # known, and not begun anew unasked
        backend.retry(job)
        deadline = time.monotonic() + 60
        while backend.logs(job).text.count("awake") < 2:
            assert time.monotonic() < deadline, backend.status(job)
            time.sleep(0.05)
        assert backend.status(job).attempt == 2
        backend.stop(job)
        assert contract.wait(backend, job, 20).state is JobState.CANCELLED
        assert family(job, []) == []
    finally:
        stop_cluster(cluster)
        assert family(cluster.id, []) == []


def test_other_machines_cannot_reach_it(cluster):
    listening = [
        connection.laddr.ip
        for key in family(cluster.id, [])
        for connection in psutil.Process(key.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}


# -- fan-out


@pytest.fixture
def pool(cluster, monkeypatch):
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    with connected(cluster.gcs), RayPool(workers=2, shard=1) as pool:
        yield pool


@pytest.fixture
def simulator(tmp_path):
    """Untrained models of the smoke recipe's sizes."""
    recipe = recipes.smoke()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(tmp_path / "policy", POLICY, build_policy(recipe.sft.policy), lineage={})
        save_model(tmp_path / "wm", WORLD_MODEL, build_world_model(recipe.world_model.model), lineage={})
        calibration = Calibration(1.0, 0.0, 0.5, 0.05, 0, 1, (0.0, 1.0), 1, 0, 1, 0.5, 0.0, "made up")
        extra = {"calibration": calibration.to_dict()}
        save_model(tmp_path / "reward", REWARD, build_reward(recipe.reward.model), lineage={}, extra=extra)
    return Simulator(tmp_path / "policy", tmp_path / "wm", tmp_path / "reward")


def contents(folder: Path) -> dict[str, bytes]:
    """Of every array file below it, metadata included."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("threads", [1, 2])
def test_imagination_on_ray_equals_that_of_a_process_here(pool, simulator, make_episode, tmp_path, threads):
    starts = [keyframe(make_episode(f"e{i}", size=32), 4 + 3 * i, "contact") for i in range(4)]
    version = write_keyframes(tmp_path / "keyframes.safetensors", starts)
    config = replace(recipes.smoke().imagine, starts=4, groups_per_batch=1)
    inputs = ImagineInputs(simulator, str(tmp_path / "keyframes.safetensors"), version, 7)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # A process of its own, as Ray's are: torch's kernels keep how they once divided a shape among threads.
        with EnvPool(workers=1) as local:
            here = imagine.run(config, replace(inputs, pool=local), tmp_path / "here")
        there = imagine.run(config, replace(inputs, pool=pool), tmp_path / "there")
    finally:
        torch.set_num_threads(before)
    assert (there.version, there.count, there.imagined_successes) == (here.version, here.count, here.imagined_successes)
    assert here.count == 8
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_evaluation_on_ray_equals_that_of_this_machine(pool, simulator, tmp_path):
    recipe = recipes.smoke()
    config = replace(recipe.evaluate, max_steps=16)
    with EnvPool(workers=1) as local:
        inputs = EvaluateInputs(recipe.env, recipe.tasks, simulator.policy, 3, local)
        here = evaluate.run(config, inputs, tmp_path / "here")
    there = evaluate.run(config, replace(inputs, pool=pool), tmp_path / "there")
    assert replace(there, episodes="") == replace(here, episodes="")
    assert len(contents(tmp_path / "here")) == 2
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_failing_job_is_named_and_the_rest_is_dropped(pool, simulator):
    job = ImagineJob(replace(simulator, policy=Path("/nowhere")), (), recipes.smoke().imagine, seed=1, threads=1)
    with pytest.raises(JobError, match=r"job 0 \(ImagineJob.*there is no checkpoint at /nowhere"):
        list(pool.map(imagine_batch, [job, job]))
    with pytest.raises(TypeError, match="must stand at module level"):
        list(pool.map(lambda envs, job: job, [1]))
