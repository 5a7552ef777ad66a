"""A Ray cluster of one machine: started with a token, reachable from this machine alone, stopped by its own id.

    python -m workbench.jobs.ray_cluster start --cpus 2 --custom franka_0123=1
    python -m workbench.jobs.ray_cluster stop

Ray listens on more ports than the one asked for and runs whatever it is sent, so a token is never optional here
(https://docs.ray.io/en/latest/ray-security/token-auth.html).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from workbench.jobs.child import sweep
from workbench.jobs.environment import JOB_ID, filtered
from workbench.jobs.processes import ProcessKey
from workbench.jobs.ray_client import RayClient, RayError
from workbench.server.private_files import write_private
from wovr_core.errors import CorruptFileError, MissingDependencyError, WovrError
from wovr_core.files import read_json, wovr_home, write_json

HOST = "127.0.0.1"
WORKER_PORTS = 100
"""Width of the range that worker processes listen in."""
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Else Ray replaces 127.0.0.1 by an address that other machines reach. The name is historical."""
_FOREVER = str(365 * 24 * 3600)


@dataclass(frozen=True)
class ClusterConfig:
    """What the cluster has to give."""

    cpus: int = 2
    gpus: int = 0
    memory_mb: int | None = None
    """None: what Ray finds."""
    custom: Mapping[str, int] = field(default_factory=dict)
    """For example {"franka_0123": 1}: one job at a time has that robot."""
    object_store_mb: int = 128
    start_seconds: float = 180.0
    """It takes 5 s on an idle machine."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster, as RAY_FOLDER/cluster.json says it."""

    id: str
    address: str
    """Of its job server: http://127.0.0.1:PORT."""
    gcs: str
    """HOST:PORT for ray.init."""
    token_file: str
    temporary: str
    """Sockets and logs."""
    process: ProcessKey

    @property
    def token(self) -> str:
        return Path(self.token_file).read_text().strip()

    def environment(self) -> dict[str, str]:
        """What a process needs to use it with `ray.init(address=cluster.gcs)`."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token_file, **_LOOPBACK}


def cluster_folder(home: Path | None = None) -> Path:
    return (home or wovr_home()) / "ray"


def find_cluster(folder: Path) -> Cluster | None:
    """The one started in this folder, if its head still lives. Raises CorruptFileError."""
    path = folder / "cluster.json"
    if not path.exists():
        return None
    try:
        values = read_json(path)
        cluster = Cluster(**{**values, "process": ProcessKey(*values["process"])})
    except (TypeError, KeyError) as error:
        raise CorruptFileError(f"{path} does not describe a cluster ({error}); delete it") from error
    return cluster if cluster.process.alive() else None


def start_cluster(folder: Path, config: ClusterConfig | None = None) -> Cluster:
    """Start a cluster and wait until it takes jobs.

    Raises:
        MissingDependencyError: ray is not installed.
        WovrError: one runs in this folder already, or it did not come up in time.
    """
    config = config or ClusterConfig()
    if find_cluster(folder) is not None:
        raise WovrError(f"a Ray cluster of {folder} is running already; stop it first")
    _require_ray()
    token_file = folder / "token"
    write_private(token_file, secrets.token_hex(32).encode())  # whoever reads it can run programs here
    deadline = time.monotonic() + config.start_seconds
    while True:
        cluster = _launch(folder, config, token_file)
        try:
            if _comes_up(cluster, deadline):
                return cluster
        except BaseException:
            stop_cluster(cluster)
            raise
        stop_cluster(cluster)
        # Ray itself gives its node 30 s, which is too little on a machine that is busy: it may have the rest.
        if time.monotonic() > deadline:
            raise WovrError(f"Ray did not come up within {config.start_seconds:.0f} s; see {folder / 'ray.log'}")


def _launch(folder: Path, config: ClusterConfig, token_file: Path) -> Cluster:
    # Unix sockets have short names: not below the folder, whose own name may be long.
    temporary = tempfile.mkdtemp(prefix="wovr-ray-")
    ports = _free_ports(5)
    name = f"raycluster{secrets.token_hex(4)}"
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(
            _command(config, ports, temporary),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(name, token_file),
            start_new_session=True,
        )
    key = ProcessKey.of(process.pid) or ProcessKey(process.pid, 0, "")
    process.returncode = 0  # reaped by `_reap`, not by subprocess
    cluster = Cluster(name, f"http://{HOST}:{ports[1]}", f"{HOST}:{ports[0]}", str(token_file), temporary, key)
    write_json(folder / "cluster.json", asdict(cluster) | {"process": key.to_json()})
    return cluster


def stop_cluster(cluster: Cluster, patience: float = 8.0) -> None:
    """End this cluster's processes and no others. Harmless when repeated."""
    cluster.process.signal(signal.SIGTERM)
    deadline = time.monotonic() + patience
    while cluster.process.alive() and time.monotonic() < deadline:
        _reap(cluster.process.pid)
        time.sleep(0.05)
    sweep(cluster.id, patience=1.0)
    shutil.rmtree(cluster.temporary, ignore_errors=True)


def _command(config: ClusterConfig, ports: list[int], temporary: str) -> list[str]:
    gcs, dashboard, client, agent, workers = ports
    memory = [] if config.memory_mb is None else [f"--memory={config.memory_mb << 20}"]
    return [
        *(sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--node-ip-address={HOST}", f"--port={gcs}"),
        *(f"--dashboard-host={HOST}", f"--dashboard-port={dashboard}", "--include-dashboard=true"),
        *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--min-worker-port={workers}", f"--max-worker-port={workers + WORKER_PORTS}"),
        *(f"--num-cpus={config.cpus}", f"--num-gpus={config.gpus}", f"--resources={json.dumps(dict(config.custom))}"),
        *(f"--object-store-memory={config.object_store_mb << 20}", *memory),
        *(f"--temp-dir={temporary}", "--disable-usage-stats"),
    ]


def _environment(name: str, token_file: Path) -> dict[str, str]:
    inherited = {k: v for k, v in filtered(os.environ).items() if not k.startswith("RAY_")}
    return inherited | {
        JOB_ID: name,  # by it the cluster's processes are found again; a job's own carry their job's
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        **_LOOPBACK,
        "RAY_JOB_START_TIMEOUT_SECONDS": _FOREVER,  # a job may wait long for its robot
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }


def _free_ports(count: int) -> list[int]:
    """Ports of this moment; the last one begins a range for the workers."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count - 1)]
        for each in sockets:
            each.bind((HOST, 0))
        ports = [each.getsockname()[1] for each in sockets]
    return [*ports, 10000 + WORKER_PORTS * secrets.randbelow(200)]


def _comes_up(cluster: Cluster, deadline: float) -> bool:
    """Whether it has a node before the deadline, and before it gives up itself."""
    client = RayClient(cluster.address, cluster.token)
    while time.monotonic() < deadline:
        _reap(cluster.process.pid)
        if not cluster.process.alive():
            return False
        with contextlib.suppress(RayError):
            client.require_token_auth()
            if client.capacity().cores:
                return True
        time.sleep(0.1)
    return False


def _require_ray() -> None:
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise MissingDependencyError("ray is not installed; pip install 'wovr-workbench[ray]'")


def _reap(pid: int) -> None:
    """A child of ours that has ended stays a zombie until it is waited for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def main(argv: Sequence[str] | None = None) -> int:
    """Start or stop the cluster of this WOVR_HOME; `wovr jobs submit ... --backend ray` then finds it."""
    parser = argparse.ArgumentParser(prog="ray_cluster", description=main.__doc__)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("--cpus", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--custom", action="append", default=[], metavar="NAME=AMOUNT", help="such as franka_0123=1")
    given = parser.parse_args(argv)
    try:
        folder = cluster_folder()
        if given.action == "start":
            custom = dict(map(_named_amount, given.custom))
            cluster = start_cluster(folder, ClusterConfig(given.cpus, given.gpus, given.memory_mb, custom))
            print(f"Ray takes jobs at {cluster.address}; its token is in {cluster.token_file}")
        elif (running := find_cluster(folder)) is None:
            print(f"no Ray cluster of {folder} is running")
        else:
            stop_cluster(running)
            print("stopped")
    except WovrError as error:
        print(f"ray_cluster: {error}", file=sys.stderr)
        return 2
    return 0


def _named_amount(text: str) -> tuple[str, int]:
    name, _, amount = text.partition("=")
    if not name or not amount.isdecimal():
        raise WovrError(f"--custom {text!r} is not of the form NAME=AMOUNT, such as franka_0123=1")
    return name, int(amount)


if __name__ == "__main__":
    sys.exit(main())
