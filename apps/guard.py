"""What stands between the app and the network: refused settings, and a check on every request.

It answers to names that it knows (a page elsewhere whose name is pointed at 127.0.0.1 gets nothing), takes nothing
that another site's page sent, no body larger than what a page sends, and opens of Gradio what our pages need. Who may
ask at all is the gate's business (apps/gate.py), which stands behind it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wovr_core.errors import WovrError

_TRUE = {"1", "true", "yes", "on", "y", "t"}
_FILES = re.compile(r"/(assets|static|svelte)/[^/\\].*|/(favicon\.ico|manifest\.json|robots\.txt|theme\.css|config)")
_READ = re.compile(r"/gradio_api/(heartbeat/[a-z0-9]+|queue/data|startup-events|app_id)")
_SENT = re.compile(r"/gradio_api/(queue/join|run/[a-z0-9_]+|component_server|reset)/?")
"""Gradio's routes that our pages need. Uploads, files by path, fetching from elsewhere, cancelling and all else are
closed, whatever Gradio's next release adds."""
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
}


class RefusedError(WovrError):
    """A setting that would open the app to others."""


@dataclass(frozen=True)
class GuardConfig:
    """What is let through."""

    pages: frozenset[str] = frozenset()
    """Paths of the pages behind the root, without a slash."""
    names: frozenset[str] = frozenset()
    """Names and addresses that browsers may call this machine by, beside the loopback ones."""
    tls: bool = False
    largest: int = 1_000_000
    """Bytes of a request's body. Pages send edits and forms, never files."""
    patience: float = 20.0
    """Seconds for a body to arrive."""


def check_host(host: str, *, accounts: int = 0, tls: bool = False) -> str:
    """The address to bind. Raises RefusedError for one that others reach, unless there are accounts and TLS."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise RefusedError(f"--host {host} is no address; give one of this machine's, such as 127.0.0.1") from None
    if address.is_loopback:
        return host
    missing = []
    if not accounts:
        missing.append("an account (wovr users add NAME --role operator)")
    if not tls:
        missing.append("--tls-cert and --tls-key")
    if missing:
        raise RefusedError(
            f"--host {host} lets others in, which takes {' and '.join(missing)}; or leave it at 127.0.0.1 "
            "(from elsewhere: ssh -L 7860:127.0.0.1:7860 this-machine)"
        )
    return host


def check_share(environment: Mapping[str, str] | None = None, share: bool = False) -> None:
    """Raises RefusedError where a public link is asked for, by a flag or by Gradio's environment variable."""
    value = (os.environ if environment is None else environment).get("GRADIO_SHARE", "")
    if share or value.strip().lower() in _TRUE:
        asked = "--share" if share else f"GRADIO_SHARE={value}"
        raise RefusedError(f"{asked} would publish this app on the internet, which it never does; leave it out")


class Guard:
    """ASGI middleware: known Host names only, nothing from other origins, nothing large, no unused routes."""

    def __init__(self, app: ASGIApp, config: GuardConfig | None = None) -> None:
        self._app = app
        self._config = config or GuardConfig()
        self._headers = dict(_HEADERS)
        if self._config.tls:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})  # no page of ours opens one
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in self._headers.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["method"], str(scope["path"]), headers)
        if refusal:
            await answer(guarded, 403, refusal)
            return
        try:
            body = await self._body(headers, receive)
        except _BodyError as error:
            await answer(guarded, error.status, str(error))
            return
        await self._app(scope, _replayed(body, receive), guarded)

    def _refusal(self, method: str, path: str, headers: Mapping[str, str]) -> str | None:
        config = self._config
        if not (is_loopback_name(headers.get("host", "")) or _host_name(headers.get("host", "")) in config.names):
            return "this app answers to 127.0.0.1 and localhost only" if not config.names else "an unknown host name"
        reading = method in ("GET", "HEAD")
        if not (reading or method == "POST") or not self._open(reading, path):
            return "this app does not offer that; its first page is /"
        if reading:
            return None
        origin = headers.get("origin")
        if origin is not None:
            there = urlsplit(origin)
            if there.netloc != headers["host"] or there.scheme != ("https" if config.tls else "http"):
                return "another site's page sent this"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "another site's page sent this"
        return None

    def _open(self, reading: bool, path: str) -> bool:
        if "\\" in path or "\0" in path or any(part in (".", "..") for part in path.split("/")):
            return False
        if path.startswith("/wovr/"):  # our own routes check for themselves
            return True
        if not reading:
            return _SENT.fullmatch(path) is not None
        own = path.strip("/") in self._config.pages or path == "/"
        return own or _FILES.fullmatch(path) is not None or _READ.fullmatch(path) is not None

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """All of a request's body. Raises _BodyError, where its length is told before any of it was read."""
        largest = self._config.largest
        told = headers.get("content-length", "0")
        if not told.isdecimal():
            raise _BodyError(400, "the length of what was sent is not a number")
        if int(told) > largest:
            raise _BodyError(413, f"more than {largest:,} bytes are not taken")
        if told == "0" and "transfer-encoding" not in headers:
            return b""
        data = bytearray()
        try:
            async with asyncio.timeout(self._config.patience):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _BodyError(400, "the connection ended")
                    data += message.get("body", b"")
                    if len(data) > largest:
                        raise _BodyError(413, f"more than {largest:,} bytes are not taken")
                    if not message.get("more_body", False):
                        return bytes(data)
        except TimeoutError:
            raise _BodyError(408, "what was sent did not arrive in time") from None


class _BodyError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Hands on the body once, then whatever comes (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine."""
    return is_loopback(_host_name(host))


def is_loopback(name: str) -> bool:
    """Whether a name or address, without a port, is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    """A short text as the whole answer."""
    named = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **(headers or {})}
    body = text.encode()
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
