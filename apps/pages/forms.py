"""What the pages that launch share: the launch form's module and style as assets, and the desk behind the form."""

from __future__ import annotations

import hashlib
from functools import cache

from fastapi import APIRouter, Response

from apps.assets_route import asset_url
from apps.services import Services
from workbench.launching.desk import LaunchDesk
from workbench.launching.launcher import Launcher
from workbench.widgets import LAUNCH_FILES

PREFIX = "/wovr/launch"
_TYPES = {".js": "text/javascript", ".css": "text/css"}


def launch_desk(services: Services) -> LaunchDesk:
    """The desk over the app's backend. Every page may have its own: the files are what they share."""
    return LaunchDesk(Launcher(services.jobs))


def launch_url(suffix: str) -> str:
    """The address of the launch form's module (".js") or style (".css")."""
    return f"{PREFIX}/launch-{_file(suffix)[1]}{suffix}"


def launch_head() -> str:
    """For a page's <head>: the form's style and the pages' own."""
    links = (launch_url(".css"), asset_url("jobs.css"))
    return "\n".join(f'<link rel="stylesheet" href="{url}">' for url in links)


def launch_router() -> APIRouter:
    """Serves both files, by content. Included once: by the page Train."""
    router = APIRouter()

    @router.get(PREFIX + "/launch-{name}")
    def asset(name: str) -> Response:
        for known, kind in _TYPES.items():
            data, current = _file(known)
            if name == f"{current}{known}":
                headers = {"Cache-Control": "private, max-age=31536000, immutable"}
                return Response(data, media_type=kind, headers=headers)
        return Response("there is no such file", 404, media_type="text/plain")

    return router


@cache
def _file(suffix: str) -> tuple[bytes, str]:
    data = LAUNCH_FILES[suffix].read_bytes()
    return data, hashlib.sha256(data).hexdigest()[:16]
