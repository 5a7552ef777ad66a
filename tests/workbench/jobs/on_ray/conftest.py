"""One cluster for all tests on Ray: keep them in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from workbench.jobs import backend as contract
from workbench.jobs.processes import family
from workbench.jobs.ray_backend import RayBackend
from workbench.jobs.ray_client import RayClient
from workbench.jobs.ray_cluster import (
    Cluster,
    ClusterConfig,
    find_cluster,
    start_cluster,
    stop_cluster,
)


@pytest.fixture(scope="session")
def cluster_config() -> ClusterConfig:
    return ClusterConfig(cpus=4, memory_mb=8000, custom={"franka_1": 1}, object_store_mb=80, start_seconds=400)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory, cluster_config) -> Iterator[Cluster]:
    """Shared by the processes of a test run: the first that wants it starts it, the last that leaves stops it."""
    pytest.importorskip("ray")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ray_cluster"
    folder.mkdir(exist_ok=True)
    lock, users = FileLock(folder / "users.lock"), folder / "users"
    with lock:
        shared = find_cluster(folder) or start_cluster(folder, cluster_config)
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
