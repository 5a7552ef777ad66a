"""What needs no cluster: refusals, commands, and a job server that is not what it should be."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workbench.jobs import ray_cluster
from workbench.jobs.kinds import module_command
from workbench.jobs.queue import Capacity
from workbench.jobs.ray_backend import RayBackend
from workbench.jobs.ray_client import (
    CLUSTER,
    RayAuthError,
    RayClient,
    RayError,
    RayUnreachableError,
    Submission,
    read_token,
)
from workbench.jobs.ray_launch import rlinf_argv, under_accelerate
from workbench.jobs.ray_pool import RayPool, connected
from workbench.jobs.spec import JobSpec, Resources
from wovr_core.errors import WovrError

Answer = Callable[[str, str, dict], tuple[int, object]]


@pytest.fixture
def serve() -> Iterator[Callable[..., RayClient]]:
    """A job server of one function: serve(answer, token_auth=True) is a client of it; answer(method, path, body)."""
    servers = []

    def start(answer: Answer, token_auth: bool = True, timeout: float = 2.0) -> RayClient:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if token_auth and self.headers.get("Authorization") != "Bearer right":
                    status, body = 401, "Unauthorized"
                else:
                    data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    status, body = answer(self.command, self.path, json.loads(data or b"{}"))
                if status == 0:  # break off
                    self.connection.close()
                    return
                encoded = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return RayClient(f"http://127.0.0.1:{server.server_port}", "right", timeout)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("workbench.jobs.ray_client._PAUSES", (0.0, 0.0))


def test_a_cluster_that_needs_no_token_is_refused(serve, home, probe):
    client = serve(lambda *_: (200, []), token_auth=False)
    with pytest.raises(RayAuthError, match=r"answers without a token.*RAY_AUTH_MODE=token"):
        RayBackend(home, client)
    with pytest.raises(RayAuthError, match="answers without a token"):
        client.submit(Submission("a", "true"))


def test_a_wrong_token_is_said(serve):
    right = serve(lambda *_: (200, []))
    with pytest.raises(RayAuthError, match="does not take this token"):
        RayClient(right.address, "wrong").job("a")


def test_a_head_that_hangs_is_given_up(serve):
    client = serve(lambda *_: threading.Event().wait(1.5) or (200, []), timeout=0.2)
    with pytest.raises(RayUnreachableError, match="does not answer"):
        client.job("a")


@pytest.mark.fault
def test_a_lost_answer_is_looked_up_and_not_repeated(serve):
    taken: list[str] = []

    def answer(method: str, path: str, body: dict) -> tuple[int, object]:
        if method == "POST":
            taken.append(body["submission_id"])
            return 0, ""
        known = path.rpartition("/")[2] in taken
        return (200, {"status": "PENDING", "message": ""}) if known else (404, "")

    serve(answer).submit(Submission("a", "true"))
    assert taken == ["a"]


@pytest.mark.fault
def test_a_lost_request_is_sent_again(serve):
    tries: list[str] = []

    def answer(method: str, path: str, body: dict) -> tuple[int, object]:
        if method == "POST":
            tries.append(body["submission_id"])
            return (0, "") if len(tries) < 3 else (200, {"submission_id": "a"})
        return 404, ""

    serve(answer).submit(Submission("a", "true"))
    assert tries == ["a"] * 3


def test_a_refusal_is_not_sent_again(serve):
    tries: list[str] = []

    def answer(method: str, path: str, body: dict) -> tuple[int, object]:
        tries.extend([method] * (method == "POST"))
        return (400, "Traceback ...\nValueError: no such resource") if method == "POST" else (404, "")

    with pytest.raises(RayError, match="Ray refused the job: ValueError: no such resource"):
        serve(answer).submit(Submission("a", "true"))
    assert tries == ["POST"]


def test_one_that_is_there_already_is_adopted(serve):
    def answer(method: str, path: str, body: dict) -> tuple[int, object]:
        return (500, "already exists") if method == "POST" else (200, {"status": "RUNNING", "message": None})

    serve(answer).submit(Submission("a", "true"))


def test_what_ray_is_told(serve):
    said: list[dict] = []
    client = serve(lambda method, path, body: said.append(body) or (200, {}))
    client.submit(Submission("a", "true", {"X": "1"}, cores=2, memory_mb=3, gpus=1, custom={"franka_7": 1}))
    assert said == [
        {
            "submission_id": "a",
            "entrypoint": "true",
            "runtime_env": {"env_vars": {"X": "1"}},
            "entrypoint_num_cpus": 2,
            "entrypoint_num_gpus": 1,
            "entrypoint_memory": 3 << 20,
            "entrypoint_resources": {"franka_7": 1},
        }
    ]


def test_capacity_is_of_the_largest_node(serve):
    nodes = [
        {"state": "ALIVE", "resources_total": {"CPU": 8.0, "memory": 4e9, "node:1": 1.0}},
        {"state": "ALIVE", "resources_total": {"CPU": 2.0, "memory": 9e9, "GPU": 1.0, "franka_7": 1.0}},
        {"state": "DEAD", "resources_total": {"CPU": 64.0}},
    ]
    client = serve(lambda *_: (200, {"data": {"result": {"result": nodes}}}))
    capacity = client.capacity()
    assert capacity == Capacity(8, int(9e9) >> 20, 1, {"franka_7": 1})
    fits = {"cores": 8, "memory_mb": 100, "gpus": 1, "custom": {"franka_7": 1}}
    capacity.refuse(fits, CLUSTER)
    with pytest.raises(WovrError, match="cores = 9, the largest node of the Ray cluster has 8"):
        capacity.refuse(fits | {"cores": 9}, CLUSTER)
    with pytest.raises(WovrError, match=r"franka_8 = 1, which no node .*they have: franka_7 = 1"):
        capacity.refuse(fits | {"custom": {"franka_8": 1}}, CLUSTER)


def test_the_token_is_where_ray_looks_for_it(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("abc\n")
    assert read_token({"RAY_AUTH_TOKEN": "xyz"}) == "xyz"
    assert read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == "abc"
    with pytest.raises(RayAuthError, match="no token for the Ray cluster"):
        read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nothing")})
    with pytest.raises(RayAuthError, match="RAY_AUTH_MODE is 'disabled'"):
        read_token({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "xyz"})
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RayAuthError, match="RAY_AUTH_MODE=token"), connected("127.0.0.1:1"):
        pass


@pytest.mark.security
def test_a_clusters_token_is_its_owners_alone_from_the_first_byte_on(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def launch(folder: Path, *_: object) -> None:
        raise Stop

    modes, replace = [], os.replace

    def watched(source: str, to: Path) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, to)

    monkeypatch.setattr(ray_cluster, "_require_ray", lambda: None)
    monkeypatch.setattr(ray_cluster, "_launch", launch)
    monkeypatch.setattr(os, "replace", watched)
    with pytest.raises(Stop):
        ray_cluster.start_cluster(tmp_path / "ray")
    assert modes == [0o600]
    assert len((tmp_path / "ray" / "token").read_text()) == 64


@pytest.mark.parametrize("custom", ["franka", "franka=", "=1", "franka=one", "franka=-1"])
def test_what_is_no_amount_of_anything_is_named(home, capsys, custom):
    assert ray_cluster.main(["start", "--custom", custom]) == 2
    assert f"{custom!r} is not of the form NAME=AMOUNT" in capsys.readouterr().err


def test_without_a_cluster_the_way_to_one_is_named(home, monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(WovrError, match="there is no Ray cluster: set RAY_API_SERVER_ADDRESS"):
        RayBackend(home)


def test_training_on_gpus_runs_under_accelerate():
    spec = JobSpec("sft", "r", recipe="smoke", overrides=("sft.steps=5",), resources=Resources(gpus=2))
    python = spec.argv()[0]
    assert under_accelerate(spec.argv(), 0) == spec.argv()
    argv = under_accelerate(spec.argv(), 2)
    assert argv[:4] == [python, "-P", "-m", "accelerate.commands.launch"]
    assert argv[4:9] == ["--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    rest = argv[argv.index("--module") + 1 :]
    assert rest == ["apps.cli", "run", "sft", "--recipe", "smoke", "--run", "r", "--set", "sft.steps=5"]
    assert "--multi_gpu" not in under_accelerate(spec.argv(), 1)
    assert under_accelerate(module_command("a.b", "-m", "x"), 1)[-4:] == ["--module", "a.b", "-m", "x"]
    with pytest.raises(WovrError, match="only Python modules run under accelerate"):
        under_accelerate(["nvidia-smi"], 1)


def test_rlinf_is_started_on_an_exported_folder(tmp_path, monkeypatch):
    checkout = tmp_path / "rlinf"
    trainer = checkout / "examples" / "embodiment" / "train_embodied_agent.py"
    with pytest.raises(WovrError, match="there is no RLinf checkout at"):
        rlinf_argv("e1", "wovr", tmp_path, checkout)
    trainer.parent.mkdir(parents=True)
    trainer.touch()
    argv = rlinf_argv("e1", "wovr", tmp_path, checkout)
    assert argv[0] == "env"
    assert f"EMBODIED_PATH={trainer.parent}" in argv
    assert argv[argv.index(str(trainer)) :] == [
        *(str(trainer), "--config-path", str(tmp_path / "exports" / "e1"), "--config-name", "wovr"),
        f"runner.logger.log_path={tmp_path / 'exports' / 'e1' / 'logs'}",
    ]
    for export, config in (("../e1", "wovr"), ("e1", "a/b"), ("e1", "a=b")):
        with pytest.raises(WovrError, match="is not the"):
            rlinf_argv(export, config, tmp_path, checkout)
    monkeypatch.setenv("WOVR_RLINF", str(checkout))
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    assert JobSpec("rlinf", "r", parameters={"export": "e1"}).argv() == argv


def test_a_pool_wants_a_connection():
    pytest.importorskip("ray")
    with pytest.raises(WovrError, match="Ray is not connected"):
        RayPool(workers=2)
    with pytest.raises(WovrError, match="at least 1"):
        RayPool(workers=0)
