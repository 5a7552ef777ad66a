"""A page as one component of Gradio's: a constant template around the page's own module, and one function it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from apps.assets_route import asset_url
from apps.services import Services
from workbench.server.answering import answered
from workbench.server.roles import User

# The template holds no `${...}`, which Gradio would execute; texts reach the page as text only.
_ON_LOAD = """
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ element, props, ask: (message) => server.ask(message) }))
  .catch((error) => { element.textContent = 'The page could not be loaded: ' + error.message; });
"""


def page_html(name: str, services: Services, answer: Callable[[object, User], dict[str, Any]], **props: Any) -> gr.HTML:
    """The whole page: `apps/assets/NAME.js`, whose `mount({element, props, ask})` asks `answer(message, user)` and
    nothing else. Whatever a question got wrong is an answer too: {"error": words}.

    Call it inside gr.Blocks.

    Args:
        props: what the module is told beside that, JSON-ready.
    """

    def ask(message: Any, request: gr.Request) -> dict[str, Any]:
        return answered(lambda: answer(message, services.user_of(request)))

    return gr.HTML(
        html_template=f'<div class="wovr-page wovr-{name}"></div>',
        css_template="",
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[ask],
        module_url=asset_url(f"{name}.js"),
        elem_id=f"wovr-{name}",
        **props,
    )
