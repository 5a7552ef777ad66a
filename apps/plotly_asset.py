"""plotly.js for the pages, out of the plotly package: served once, by content, so that nothing is fetched elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache

from fastapi import APIRouter, Response

PREFIX = "/wovr/plotly"


def plotly_url() -> str:
    """The address of plotly.js (4.7 MB); `loadPlotly(url)` of dom.js loads it when a page needs it first."""
    return f"{PREFIX}-{_script()[1]}.js"


def plotly_router() -> APIRouter:
    """Serves it, without a query for any other version."""
    router = APIRouter()

    @router.get(PREFIX + "-{digest}.js")
    def script(digest: str) -> Response:
        text, current = _script()
        if digest != current:
            return Response("there is no such file", 404, media_type="text/plain")
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(text, media_type="text/javascript", headers=headers)

    return router


@cache
def _script() -> tuple[bytes, str]:
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs().encode()
    return text, hashlib.sha256(text).hexdigest()[:16]
