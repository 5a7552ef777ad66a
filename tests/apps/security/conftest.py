"""An app behind its login, over one made-up run; and a client that keeps cookies as told, and follows no redirect."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("gradio")

from apps.app import AppSecurity, create_app
from apps.bench.browser import served
from apps.gate import GateConfig
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips
from workbench.scrubber.span_log import LOG_NAME
from workbench.server.access import Access
from workbench.server.accounts import Accounts, HashConfig
from workbench.server.audit_log import AuditLog
from workbench.server.roles import Role
from workbench.server.sessions import SessionConfig, Sessions
from workbench.server.throttle import RateConfig, Throttle, ThrottleConfig

PASSWORD = "correct horse battery"


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """NAME=VALUE of the cookie that was set."""
        return self.headers.get("set-cookie", "").split(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Speaks to the app. `cookie` goes with every request."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, data: bytes | None = None, method: str | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items()}
        if self.cookie:
            named.setdefault("Cookie", self.cookie)
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, body=data, headers=named)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def sign_in(self, name: str, password: str = PASSWORD, **more: str) -> Reply:
        form = urlencode({"name": name, "password": password, **more}).encode()
        reply = self.ask("/wovr/login", form, Content_Type="application/x-www-form-urlencoded")
        if reply.status == 303:
            self.cookie = reply.cookie
        return reply

    def call(self, component: int, function: str, data: Any) -> Reply:
        """A server function, as a page calls it (or as anybody may try to)."""
        body = {"data": data, "component_id": component, "fn_name": function, "session_hash": "s1"}
        return self.ask("/gradio_api/component_server", json.dumps(body).encode(), Content_Type="application/json")

    def component(self, function: str) -> int:
        """The component that offers a server function."""
        found = self.ask("/config").json()["components"]
        return next(c["id"] for c in found if function in (c["props"].get("server_fns") or []))


@pytest.fixture(scope="session")
def password() -> str:
    return PASSWORD


@pytest.fixture(scope="module")
def kept() -> Iterator[contextlib.ExitStack]:
    """What the module's one app needs closed at its end."""
    with contextlib.ExitStack() as stack:
        yield stack


_made: dict[int, SimpleNamespace] = {}


@pytest.fixture
def guarded(
    kept: contextlib.ExitStack, tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]
) -> SimpleNamespace:
    """url, port, client(), accounts, access, clock, run, server: users vic, ann, opa and rob, one of each role.

    One server for a module's tests (it takes a second to make); each finds accounts, log, waits and spans as new.
    """
    if id(kept) not in _made:
        _made[id(kept)] = _make(kept, tmp_path_factory.mktemp("guarded"), make_run)
    site = _made[id(kept)]
    site.accounts.path.write_bytes(site.users)
    for throttle in (site.access.pairs, site.access.addresses, site.access.names):
        throttle._keys.clear()
    for file in (site.access.log.path, site.run / LOG_NAME):
        file.unlink(missing_ok=True)
    return site


def _make(kept: contextlib.ExitStack, folder: Path, make_run: Callable[..., Path]) -> SimpleNamespace:
    run = make_run(folder / "runs", "a")
    clock = Clock()
    accounts = Accounts(folder / "users.json", HashConfig(passes=1, memory_kib=8, lanes=1))
    for name, role in (("vic", Role.VIEWER), ("ann", Role.ANNOTATOR), ("opa", Role.OPERATOR), ("rob", Role.ROBOT)):
        accounts.add(name, PASSWORD, role)
    access = Access(
        accounts, Sessions(folder, SessionConfig(seconds=600), clock), AuditLog(folder / "audit.jsonl"),
        Throttle(clock=clock), Throttle(ThrottleConfig(free=20), clock), Throttle(ThrottleConfig(free=50), clock),
    )  # fmt: skip
    catalogue = Catalogue(CatalogueConfig(runs=folder / "runs", seconds=0.0, patience=60.0))
    kept.callback(catalogue.close)
    gate = GateConfig(sends=RateConfig(100, 0.5), strangers=RateConfig(400, 100.0))
    server = create_app(Services(catalogue, strips=Strips(folder / "cache")), AppSecurity(access, gate=gate))
    url = kept.enter_context(served(server))
    port = int(url.rsplit(":", 1)[1])
    return SimpleNamespace(
        url=url, port=port, client=lambda: Client(port), accounts=accounts, access=access, clock=clock, run=run,
        server=server, users=accounts.path.read_bytes(),
    )  # fmt: skip
