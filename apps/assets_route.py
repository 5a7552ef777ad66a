"""Our own scripts and style sheets: `asset_url("dom.js")` is the address of one, by content, kept by the browser.

Inside a module, `import { el } from "./dom.js"` works too: a name without a digest is asked for anew at every load
(and answered with 304 while nothing changed).
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from wovr_core.errors import UnknownNameError

PREFIX = "/wovr/assets"
FOLDER = Path(__file__).parent / "assets"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}
_NAMED = re.compile(r"(?P<stem>[a-z0-9_.]+?)(?:-(?P<digest>[0-9a-f]{16}))?(?P<suffix>\.[a-z]+)")


def asset_url(name: str) -> str:
    """The address of a file in apps/assets. Raises UnknownNameError."""
    data = _assets().get(name)
    if data is None:
        raise UnknownNameError("asset", name, list(_assets()))
    path = Path(name)
    return f"{PREFIX}/{path.stem}-{_digest(name)}{path.suffix}"


def assets_router() -> APIRouter:
    """Serves the files of apps/assets, of the known types, by name; a name is looked up, never made into a path."""
    router = APIRouter()

    @router.get(PREFIX + "/{file}")
    def asset(file: str, request: Request) -> Response:
        named = _NAMED.fullmatch(file)
        name = f"{named['stem']}{named['suffix']}" if named else ""
        data = _assets().get(name)
        if named is None or data is None:
            return Response("there is no such file", 404, media_type="text/plain")
        tag = f'"{_digest(name)}"'
        if named["digest"] == _digest(name):
            headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        else:
            headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=TYPES[named["suffix"]], headers=headers)

    return router


@cache
def _assets() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(_assets()[name]).hexdigest()[:16]
