"""A Ray cluster itself: who may ask it, who reaches it, and a head that dies."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import psutil
import pytest
import requests

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.processes import family
from workbench.jobs.ray_backend import RayBackend
from workbench.jobs.ray_client import RayAuthError, RayClient
from workbench.jobs.ray_cluster import (
    cluster_folder,
    start_cluster,
    stop_cluster,
)
from wovr_core.errors import WovrError

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_cluster_asks_everybody_for_the_token(cluster, client):
    assert requests.get(f"{cluster.address}/api/jobs/", timeout=30).status_code == 401
    client.require_token_auth()
    with pytest.raises(RayAuthError, match="does not take this token"):
        RayClient(cluster.address, "wrong", timeout=30.0).job("x")


def test_other_machines_cannot_reach_it(cluster):
    listening = [
        connection.laddr.ip
        for key in family(cluster.id, [])
        for connection in psutil.Process(key.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.fault
def test_a_head_that_dies(home, probe, awake, cluster_config):
    """Jobs count as lost in bounded time, nothing of them runs on, and after a restart they are run again."""
    pytest.importorskip("ray")
    config = replace(cluster_config, custom={})
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
