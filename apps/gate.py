"""Who may ask: with accounts nobody passes without a session, and nobody asks more often than a person would."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from apps.guard import answer
from workbench.server.access import Access
from workbench.server.roles import ForbiddenError, User
from workbench.server.throttle import Rate, RateConfig

_OPEN = re.compile(r"/wovr/(login|logout)|/wovr/assets/[^/]+|/favicon\.ico")
"""Before signing in: the way in, and files that are in the public repository anyway."""
_FREE = re.compile(r"/(assets|static|svelte|wovr/assets)/.*|/wovr/plotly-.*|/theme\.css|/favicon\.ico")
"""Files that a browser loads by the dozen when a page opens."""


@dataclass(frozen=True)
class GateConfig:
    """How often one user may ask: bursts, and requests a second over time."""

    reads: RateConfig = field(default_factory=lambda: RateConfig(600, 60.0))
    """Pictures, pages, frames."""
    sends: RateConfig = field(default_factory=lambda: RateConfig(150, 25.0))
    """Questions and edits."""
    strangers: RateConfig = field(default_factory=lambda: RateConfig(60, 4.0))
    """Whoever has not signed in, by address."""


class Gate:
    """ASGI middleware. With `access`, a request's user stands in its scope, or it ends here."""

    def __init__(self, app: ASGIApp, access: Access | None = None, config: GateConfig | None = None) -> None:
        config = config or GateConfig()
        self._app, self._access = app, access
        self._reads, self._sends, self._strangers = Rate(config.reads), Rate(config.sends), Rate(config.strangers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, reading = str(scope["path"]), scope["method"] in ("GET", "HEAD")
        scope["wovr.user"] = None
        if self._access:
            user = self._access.user(token_of(scope))
            if user is None and not _OPEN.fullmatch(path):
                await self._sent_away(scope, send, path, reading)
                return
            scope["wovr.user"] = user
        if not _FREE.fullmatch(path):
            wait = self._wait(scope, reading)
            if wait > 0:
                await answer(send, 429, "too many requests at once", {"retry-after": str(int(wait) + 1)})
                return
        await self._app(scope, receive, send)

    def _wait(self, scope: Scope, reading: bool) -> float:
        user: User | None = scope["wovr.user"]
        if self._access and user is None:
            return self._strangers.take(address_of(scope))
        key = user.name if user else ""  # without accounts there is one user
        return (self._reads if reading else self._sends).take(key)

    async def _sent_away(self, scope: Scope, send: Send, path: str, reading: bool) -> None:
        wait = self._strangers.take(address_of(scope))
        if wait > 0:
            await answer(send, 429, "too many requests at once", {"retry-after": str(int(wait) + 1)})
            return
        accepts = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        if reading and b"text/html" in accepts:
            query = scope.get("query_string", b"").decode("latin-1")
            target = quote(path + (f"?{query}" if query else ""), safe="")
            await answer(send, 303, "sign in first", {"location": f"/wovr/login?next={target}"})
        else:
            await answer(send, 401, "sign in first")


def cookie_name(tls: bool) -> str:
    """A browser takes a __Host- cookie only over TLS, from this very host, for all paths: nobody else can plant it."""
    return "__Host-wovr_session" if tls else "wovr_session"


def token_of(scope: Scope) -> str:
    """The session's token as the browser sent it; empty without one."""
    raw = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
    try:
        cookie = SimpleCookie(raw).get(cookie_name(scope.get("scheme") == "https"))
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def address_of(scope: Scope) -> str:
    """Where the request came from. No header is believed: each could be made up."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def user_of(request: Any) -> User:
    """Services.user_of where there are accounts: whom the gate let through. Raises ForbiddenError."""
    raw = getattr(request, "request", None) or request  # Gradio hands over a wrapper, or the request itself
    user = raw.scope.get("wovr.user")
    if not isinstance(user, User):
        raise ForbiddenError("sign in first")
    return user
