"""The way in and out where there are accounts: the login form, signing out, and who is asking."""

from __future__ import annotations

import html
from functools import cache
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from apps.assets_route import FOLDER, asset_url
from apps.gate import address_of, cookie_name, token_of
from apps.services import Services
from workbench.server.access import Access, SignInError

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_PLAIN = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}


def login_router(services: Services, access: Access | None) -> APIRouter:
    """Routes /wovr/me, and with accounts /wovr/login and /wovr/logout."""
    router = APIRouter()

    @router.get("/wovr/me")
    def me(request: Request) -> dict[str, Any]:
        """Who is asking, for the bar on top."""
        user = services.user_of(request)
        return {"name": user.name, "role": user.role.name.lower(), "login": access is not None}

    if access is not None:
        _add_login(router, access)
    return router


def _add_login(router: APIRouter, access: Access) -> None:
    @router.get("/wovr/login")
    def form(next: str = "/") -> Response:
        return _form(next)

    @router.post("/wovr/login")
    async def sign_in(request: Request) -> Response:
        try:
            fields = parse_qs((await request.body()).decode(), max_num_fields=8)
        except ValueError:
            return _form("/", "that was no form of ours", 400)
        name, password, target = (fields.get(key, [""])[0] for key in ("name", "password", "next"))
        try:
            token = await to_thread.run_sync(access.sign_in, name[:200], password, address_of(request.scope))
        except SignInError as error:
            return _form(target, str(error), 429 if error.wait else 401, {"Retry-After": str(int(error.wait) + 1)})
        old = token_of(request.scope)
        if old:
            access.sessions.end(old)  # a session that was there before is worth nothing now
        answer = Response(status_code=303, headers={"Location": local_target(target), "Cache-Control": "no-store"})
        tls = request.scope.get("scheme") == "https"
        age = int(access.sessions.config.seconds)
        answer.set_cookie(cookie_name(tls), token, age, path="/", secure=tls, httponly=True, samesite="strict")
        return answer

    @router.post("/wovr/logout")
    def sign_out(request: Request) -> Response:
        access.sign_out(token_of(request.scope), address_of(request.scope))
        tls = request.scope.get("scheme") == "https"
        answer = Response(status_code=303, headers={"Location": "/wovr/login", "Clear-Site-Data": '"cache"'})
        answer.delete_cookie(cookie_name(tls), path="/", secure=tls, httponly=True, samesite="strict")
        return answer


def local_target(target: str) -> str:
    """Where to go after signing in: a path of this app, or the first page for anything else."""
    parts = urlsplit(target)
    safe = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    if not safe or parts.scheme or parts.netloc or parts.path.startswith("/wovr/"):
        return "/"
    return target.encode("ascii", "ignore").decode()


def _form(target: str, error: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = _template().substitute(
        style=asset_url("workbench.css"),
        script=asset_url("login.js"),
        target=html.escape(local_target(target), quote=True),
        error=html.escape(error),
        hidden="" if error else "hidden",
    )
    return Response(text, status, headers=_PLAIN | (headers or {}), media_type="text/html")


@cache
def _template() -> Template:
    return Template((FOLDER / "login.html").read_text(encoding="utf-8"))
