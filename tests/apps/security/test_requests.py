"""Attacks below the pages: bodies too large or too slow, floods, Gradio's other routes, settings from outside, TLS."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.routing import Mount

from apps.app import AppSecurity, create_app
from apps.bench.browser import served
from apps.cli import main
from apps.gate import Gate, GateConfig
from apps.guard import Guard, GuardConfig, RefusedError, check_host
from apps.pages import PAGES
from apps.services import Services
from apps.serving import AppConfig, access_of, known_names, tame_gradio, tls_files
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.server.accounts import Accounts, HashConfig
from workbench.server.roles import Role
from workbench.server.throttle import RateConfig

PATHS = [page.path for page in PAGES]

pytestmark = [pytest.mark.security, pytest.mark.timeout(120)]


def small_app(**guard: object) -> Starlette:
    """Something behind the guard that takes any body and says how long it was."""
    app = FastAPI()

    @app.post("/wovr/taken")
    async def taken(request: Request) -> dict[str, int]:
        return {"taken": len(await request.body())}

    app.add_middleware(Guard, config=GuardConfig(**guard))  # type: ignore[arg-type]
    return app


def spoken(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for raw bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break  # it has hung up already, having answered
            time.sleep(pause)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and pause == 0:
                    break
        except OSError:
            pass
        return answer


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_an_oversized_upload_is_refused_before_it_is_sent() -> None:
    with served(small_app(largest=1000)) as url:
        head = b"POST /wovr/taken HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        assert b" 200 " in spoken(port_of(url), head % 1000 + b"x" * 1000)
        for told in (1001, 10**12, 10**15):
            assert b" 413 " in spoken(port_of(url), head % told), "not one byte of it was needed"


def test_a_body_without_a_length_is_cut_off_where_it_gets_too_large() -> None:
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    with served(small_app(largest=4096)) as url:
        head = (
            b"POST /wovr/taken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert b'"taken":4096' in spoken(port_of(url), head + chunk * 4 + b"0\r\n\r\n", pause=0.01).replace(b" ", b"")
        assert b" 413 " in spoken(port_of(url), head + chunk * 5)


def test_a_body_that_trickles_is_not_waited_for() -> None:
    with served(small_app(patience=0.3)) as url:
        head = b"POST /wovr/taken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        assert b" 408 " in spoken(port_of(url), head + b"x")


def test_uploads_with_evil_names_are_closed_to_everyone(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("rob")
    for name in ("<img src=x onerror=alert(1)>.png", "../../users.json", "x.html"):
        body = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n<script>\r\n--x--\r\n'
        for path in (
            "/gradio_api/upload",
            "/upload",
            "/gradio_api/upload/",
            "//gradio_api/upload",
            "/gradio_api/%75pload",
        ):
            reply = client.ask(path, body.encode(), Content_Type="multipart/form-data; boundary=x")
            assert reply.status in (403, 404), path


def test_of_gradios_routes_only_those_that_pages_need_are_open(guarded: SimpleNamespace) -> None:
    """Walks the routes of the installed Gradio, so that what a new release adds is closed until it is looked at."""
    client = guarded.client()
    client.sign_in("rob")
    (mount,) = (route for route in guarded.server.routes if isinstance(route, Mount))
    found = open_ = 0
    for path, method in {(path, method) for path, methods in routes(mount.app) for method in methods}:
        concrete = path.replace("{path:path}", "x").replace("{session_hash}", "s1").replace("{api_name}", "show")
        if "{" in concrete:
            concrete = concrete.split("{")[0] + "x"
        known = concrete.startswith(("/assets/", "/static/", "/svelte/")) or concrete.rstrip("/") in {
            "", "/config", "/theme.css", "/robots.txt", "/favicon.ico", "/manifest.json", "/gradio_api/queue/data",
            "/gradio_api/queue/join", "/gradio_api/run/show", "/gradio_api/component_server", "/gradio_api/reset",
            "/gradio_api/heartbeat/s1", "/gradio_api/startup-events", "/gradio_api/app_id",
            *(f"/{page}" for page in PATHS if page),
        }  # fmt: skip
        found += 1
        if known:
            open_ += 1
            continue
        assert client.ask(concrete, b"" if method == "POST" else None, method=method).status == 403, (method, concrete)
    assert found > 60
    assert open_ > 10


def routes(app: Any) -> list[tuple[str, set[str]]]:
    """(path, methods) of every route, those of included routers too."""
    found = []
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found += routes(inner)
        elif hasattr(route, "methods"):
            found.append((route.path, route.methods or {"GET"}))
    return found


def test_one_user_cannot_flood_the_others(tmp_path: Path) -> None:
    app = small_app()
    app.user_middleware.insert(1, type(app.user_middleware[0])(Gate, config=GateConfig(sends=RateConfig(5, 0.01))))
    with served(app) as url:
        statuses = []
        for _ in range(8):
            connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=20)
            connection.request("POST", "/wovr/taken", body=b"x")
            answer = connection.getresponse()
            statuses.append(answer.status)
            if answer.status == 429:
                assert int(answer.getheader("Retry-After") or 0) >= 1
            connection.close()
        assert statuses == [200] * 5 + [429] * 3


def test_each_user_has_a_rate_of_her_own(guarded: SimpleNamespace) -> None:
    ann, opa = guarded.client(), guarded.client()
    ann.sign_in("ann")
    opa.sign_in("opa")
    sent = 0
    while sent < 400 and ann.ask("/gradio_api/reset", b"x").status != 429:
        sent += 1
    assert 90 < sent < 400
    assert opa.ask("/gradio_api/reset", b"x").status != 429


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    server = create_app(Services(Catalogue(CatalogueConfig(runs=tmp_path))))
    (mount,) = (route for route in server.routes if isinstance(route, Mount))
    blocks = mount.app.get_blocks()  # type: ignore[attr-defined]
    assert blocks._queue.max_size == 64
    assert blocks.allowed_paths == []
    assert not blocks.api_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
def test_beyond_loopback_takes_accounts_and_tls(host: str) -> None:
    with pytest.raises(RefusedError, match="wovr users add"):
        check_host(host, tls=True)
    with pytest.raises(RefusedError, match="--tls-cert"):
        check_host(host, accounts=1)
    assert check_host(host, accounts=1, tls=True) == host


@pytest.mark.parametrize(
    "argv",
    [
        ["--host", "0.0.0.0"], ["--host", "192.0.2.1"], ["--host", "::"], ["--auth"], ["--share", "--auth"],
        ["--tls-cert", "c.pem"], ["--tls-cert", "/etc/hostname", "--tls-key", "/etc/hostname"],
        ["--host", "example.org"],
    ],
)  # fmt: skip
def test_the_command_refuses_what_is_not_safe(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.setattr("apps.serving.run_server", lambda *_: pytest.fail("it served"))
    assert main(["app", "--no-browser", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wovr: ")


def test_with_an_account_but_no_tls_it_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.setattr("apps.serving.run_server", lambda *_: pytest.fail("it served"))
    cheap = HashConfig(passes=1, memory_kib=8, lanes=1)
    Accounts(tmp_path / "users.json", cheap).add("opa", "correct horse battery", Role.OPERATOR)
    assert main(["app", "--no-browser", "--host", "0.0.0.0"]) == 2
    assert "--tls-cert and --tls-key" in capsys.readouterr().err
    assert access_of(AppConfig(host="127.0.0.1")) is None
    assert access_of(AppConfig(auth=True)) is not None
    assert access_of(AppConfig(host="0.0.0.0")) is not None, "beyond loopback nobody can leave the login out"


def test_an_app_that_listens_everywhere_says_its_name() -> None:
    with pytest.raises(RefusedError, match="--name"):
        known_names("0.0.0.0", [])
    assert known_names("0.0.0.0", ["Lab.Example "]) == {"lab.example"}
    assert known_names("192.168.1.7", []) == {"192.168.1.7"}
    assert known_names("127.0.0.1", []) == frozenset()


def test_gradios_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    names = {
        "GRADIO_SHARE": "0", "GRADIO_ALLOWED_PATHS": "/", "GRADIO_MCP_SERVER": "1", "GRADIO_SSR_MODE": "1",
        "GRADIO_VIBE_MODE": "1", "GRADIO_WATCH_DIRS": "/", "GRADIO_ROOT_PATH": "https://evil.example",
        "GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_PROFILING": "1",
        "GRADIO_HISTORY_BUCKET": "x", "GRADIO_DEBUG": "1", "GRADIO_WHATEVER_COMES": "1",
    }  # fmt: skip
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    tame_gradio()
    left = {
        name: value for name, value in os.environ.items() if name.startswith("GRADIO_") and name != "GRADIO_TEMP_DIR"
    }
    assert left == {"GRADIO_ANALYTICS_ENABLED": "False"}


def test_over_tls_the_cookie_is_secure_and_browsers_stay_with_tls(tmp_path: Path) -> None:
    from workbench.server.access import Access
    from workbench.server.audit_log import AuditLog
    from workbench.server.sessions import Sessions

    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("no openssl to make a certificate with")
    pair = tls_files(AppConfig(tls_cert=certificate, tls_key=key))
    assert pair == (certificate, key)
    with pytest.raises(RefusedError, match="cannot be used"):
        tls_files(AppConfig(tls_cert=key, tls_key=key))
    accounts = Accounts(tmp_path / "users.json", HashConfig(passes=1, memory_kib=8, lanes=1))
    accounts.add("ann", "correct horse battery", Role.ANNOTATOR)
    access = Access(accounts, Sessions(tmp_path), AuditLog(tmp_path / "audit.jsonl"))
    guard = GuardConfig(names=frozenset({"lab.example"}), tls=True)
    app = create_app(Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs"))), AppSecurity(access, guard))
    settings = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", ssl_certfile=certificate, ssl_keyfile=key
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=_trusting(), timeout=20)
        form = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Host": "lab.example",
            "Origin": "https://lab.example",
        }
        connection.request("POST", "/wovr/login", body="name=ann&password=correct+horse+battery", headers=form)
        answer = connection.getresponse()
        answer.read()
        cookie = (answer.getheader("Set-Cookie") or "").lower()
        assert answer.status == 303
        assert cookie.startswith("__host-wovr_session=")
        assert "secure" in cookie
        assert "max-age=31536000" in (answer.getheader("Strict-Transport-Security") or "")
        plain = {**form, "Origin": "http://lab.example"}
        connection.request("POST", "/wovr/login", body="name=ann&password=correct+horse+battery", headers=plain)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 403, "an unencrypted page of the same name is another site"
        connection.request("GET", "/wovr/login", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 403
        connection.close()
    finally:
        server.should_exit = True
        thread.join(10)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate was made a moment ago, by this test
    return context
