"""Without accounts the app speaks to this machine alone: refused settings, refused requests, ids that lead nowhere."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")

from apps.app import create_app
from apps.bench.browser import served
from apps.cli import main
from apps.guard import RefusedError, check_host, check_share, is_loopback_name
from apps.services import Services
from apps.serving import AppConfig, access_of, listening
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from wovr_core.errors import WovrError

pytestmark = [pytest.mark.security, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    home = tmp_path_factory.mktemp("home")
    (home / "secret.txt").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        # What a careless environment would open.
        patch.setenv("GRADIO_ALLOWED_PATHS", str(home))
        patch.setenv("GRADIO_MCP_SERVER", "true")
        patch.setenv("GRADIO_VIBE_MODE", "1")
        patch.setenv("GRADIO_ROOT_PATH", "https://elsewhere.example")
        server = create_app(Services(Catalogue(CatalogueConfig(runs=home / "runs"))))
        with served(server) as url:
            yield SimpleNamespace(url=url, home=home, port=int(url.rsplit(":", 1)[1]))


def ask(
    app: SimpleNamespace, path: str, data: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(app.url + path, data=data, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"]
)
def test_other_addresses_are_refused(host: str) -> None:
    with pytest.raises(RefusedError, match=r"no address|takes an account"):
        check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_taken_and_asks_for_no_account(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    assert check_host(host) in (host, "127.0.0.1")
    assert access_of(AppConfig(host=host)) is None


@pytest.mark.parametrize("value", ["1", "true", "True", "YES", "on"])
def test_share_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="GRADIO_SHARE"):
        check_share({"GRADIO_SHARE": value})
    with pytest.raises(RefusedError, match="--share"):
        check_share({}, share=True)
    check_share({"GRADIO_SHARE": "False"})


@pytest.mark.parametrize("argv", [["--share"], ["--host", "0.0.0.0"], ["/no/such/folder"], ["--port", "70000"]])
def test_the_command_refuses_in_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.setattr("apps.app.create_app", lambda services, security: None)
    assert main(["app", "--no-browser", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wovr: ")


def test_share_by_environment_is_refused_before_anything_listens(tmp_path: Path) -> None:
    code = "from apps.cli import main; raise SystemExit(main(['app', '--no-browser']))"
    environment = {"GRADIO_SHARE": "1", "WOVR_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "GRADIO_SHARE=1" in done.stderr


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]", "a[b", "10.1.1.1"]
)
def test_names_that_are_not_this_machine_get_nothing(app: SimpleNamespace, host: str) -> None:
    assert not is_loopback_name(host)
    if host:
        status, body, _ = ask(app, "/", Host=host)
        assert (status, body) == (403, b"this app answers to 127.0.0.1 and localhost only")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7860", "localhost:7860", "[::1]:7860"])
def test_names_of_this_machine_are_answered(app: SimpleNamespace, host: str) -> None:
    assert is_loopback_name(host)
    assert ask(app, "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    ],
)  # fmt: skip
def test_posts_of_other_sites_are_refused(app: SimpleNamespace, headers: dict[str, str]) -> None:
    for path in ("/gradio_api/component_server", "/component_server", "/gradio_api/queue/join", "/gradio_api/run/show"):
        assert ask(app, path, b"{}", Content_Type="text/plain", **headers)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/wovr/inspect/strips/..%2F..%2F..%2Fsecret.txt", "/wovr/inspect/strips/../../../secret.txt",
        "/wovr/inspect/strips/%2Fetc%2Fpasswd", "/wovr/assets/app.py", "/wovr/assets/..%2Fapp.py",
        "/wovr/assets/dom-..%2F..%2Fapp.py", "/wovr/plotly-..%2Fapp.js",
        "/wovr/scrubber/packs/..%2F..%2Fsecret.txt", "/wovr/scrubber/module-..%2F..%2F..%2Fsecret.txt",
        "/gradio_api/file=HOME/secret.txt", "/file=HOME/secret.txt", "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/HOME/secret.txt", "/gradio_api/proxy=http://evil.example", "/static/..%2F..%2Fapp.py",
        "/gradio_api/mcp/sse", "/gradio_api/vibe-code/", "/docs", "/openapi.json", "/redoc", "/monitoring",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(app: SimpleNamespace, path: str) -> None:
    status, body, _ = ask(app, path.replace("HOME", str(app.home)))
    assert b"secret" not in body.replace(b"secret.txt", b"")
    assert b"root:" not in body
    assert status in (403, 404, 405), (path, status, body[:80])


def test_uploads_are_closed(app: SimpleNamespace) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.html"\r\n\r\n<script>\r\n--x--\r\n'
    for path in ("/gradio_api/upload", "//gradio_api/upload", "/gradio_api//upload", "/gradio_api/./upload", "/upload"):
        status, _, _ = ask(app, path, body, Content_Type="multipart/form-data; boundary=x")
        assert status in (403, 404, 405), path


def test_every_answer_carries_the_safe_headers(app: SimpleNamespace) -> None:
    for path in ("/", "/config", "/wovr/inspect/strips/none"):
        _, _, headers = ask(app, path)
        found = {name.lower(): value for name, value in headers.items()}
        assert "frame-ancestors 'none'" in found["content-security-policy"]
        assert "http" not in found["content-security-policy"], "no other origin at all"
        assert found["x-content-type-options"] == "nosniff"


def test_the_page_holds_no_template_that_gradio_would_execute(app: SimpleNamespace) -> None:
    config = json.loads(ask(app, "/config")[1])
    pages = [block["props"] for block in config["components"] if block["type"] == "html"]
    assert len(pages) >= 2
    for props in pages:
        assert "$" not in props["html_template"]
        assert props["css_template"] == ""
    assert config.get("analytics_enabled") is False
    assert not config.get("vibe_mode")
    assert "elsewhere.example" not in json.dumps(config)


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with listening("127.0.0.1", port) as listener:
            assert port < listener.getsockname()[1] < port + 100
            assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(WovrError, match="between 0 and 65535"), listening("127.0.0.1", -1):
        pass
