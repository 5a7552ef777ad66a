"""What the pages that launch share: the launch form's module as an asset, one component around one function."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import gradio as gr
from fastapi import APIRouter, Response

from apps.assets_route import asset_url
from apps.services import Services
from workbench.launching.desk import LaunchDesk
from workbench.launching.launcher import Launcher
from workbench.server.answering import answered
from workbench.server.roles import User
from workbench.widgets import LAUNCH_FILES

PREFIX = "/wovr/launch"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_ON_LOAD = """
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ element, props, ask: (message) => server.ask(message) }))
  .catch((error) => { element.textContent = 'The page could not be loaded: ' + error.message; });
"""


def launch_desk(services: Services) -> LaunchDesk:
    """The desk over the app's backend. Every page may have its own: the files are what they share."""
    return LaunchDesk(Launcher(services.jobs))


def page_html(name: str, services: Services, answer: Callable[[object, User], dict[str, Any]], **props: Any) -> gr.HTML:
    """The whole page: `apps/assets/NAME.js` in a constant template, asking `answer(message, user)` and nothing else.

    Call it inside gr.Blocks.
    """

    def ask(message: Any, request: gr.Request) -> dict[str, Any]:
        raw: Any = getattr(request, "request", None) or request  # Gradio hands over either kind here
        return answered(lambda: answer(message, services.user_of(raw)))

    return gr.HTML(
        html_template='<div class="wovr-page"></div>',
        css_template="",
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[ask],
        module_url=asset_url(f"{name}.js"),
        launch_url=launch_url(".js"),
        elem_id=f"wovr-{name}",
        **props,
    )


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
