"""What stands between the app and the network: refused settings, and a check on every request.

The app has no login yet, so it speaks to this machine alone: it binds to loopback, answers to loopback names only
(a page elsewhere whose name is pointed at 127.0.0.1 gets nothing), and takes nothing that another site's page sent.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wovr_core.errors import WovrError

_TRUE = {"1", "true", "yes", "on", "y", "t"}
_CLOSED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/proxy=", "/file")
"""Gradio's routes that no page of ours needs: uploads, files by path, and fetching from elsewhere."""
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
}


class RefusedError(WovrError):
    """A setting that would open the app to others."""


def check_host(host: str) -> str:
    """The address to bind. Raises RefusedError unless it is loopback."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise RefusedError(
        f"--host {host} would let others in, and the app has no login yet; leave it at 127.0.0.1 "
        "(from elsewhere: ssh -L 7860:127.0.0.1:7860 this-machine)"
    )


def check_share(environment: Mapping[str, str] | None = None, share: bool = False) -> None:
    """Raises RefusedError where a public link is asked for, by a flag or by Gradio's environment variable."""
    value = (os.environ if environment is None else environment).get("GRADIO_SHARE", "")
    if share or value.strip().lower() in _TRUE:
        asked = "--share" if share else f"GRADIO_SHARE={value}"
        raise RefusedError(f"{asked} would publish this app on the internet, which it never does; leave it out")


class Guard:
    """ASGI middleware: loopback Host names only, nothing from other origins, no unused routes, safe headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no page of ours opens a WebSocket
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = _refusal(scope["method"], str(scope["path"]), headers)
        if refusal:
            await _refuse(send, refusal)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, guarded)


def _refusal(method: str, path: str, headers: Mapping[str, str]) -> str | None:
    if not is_loopback_name(headers.get("host", "")):
        return "this app answers to 127.0.0.1 and localhost only"
    if re.sub("/+", "/", path).lower().startswith(_CLOSED):
        return "this app does not offer that"
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers["host"]:
        return "another site's page sent this"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "another site's page sent this"
    return None


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _refuse(send: Send, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
