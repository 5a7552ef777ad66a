"""The app: pages over the workbench, for this machine alone. `create_app` makes it, `serve` runs it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from apps.guard import Guard, check_host, check_share
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig, newest
from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.files import wovr_home

if TYPE_CHECKING:
    from fastapi import FastAPI

    from workbench.catalogue.strips import Strips

log = logging.getLogger("wovr.app")

PORTS_TRIED = 100


@dataclass(frozen=True)
class AppConfig:
    """What the app shows and where it listens."""

    paths: tuple[Path, ...] = ()
    """Run folders, or folders of them, beside those under WOVR_HOME."""
    host: str = "127.0.0.1"
    port: int = 7860
    """The first to try; the next free one is taken."""
    browser: bool = True
    demo: bool = False
    """Open the newest demo run."""


def create_app(catalogue: Catalogue, strips: Strips | None = None) -> FastAPI:
    """The app over a catalogue, with everything but a port. Raises MissingDependencyError without Gradio."""
    try:
        import gradio as gr
        from fastapi import FastAPI
    except ImportError as error:
        raise MissingDependencyError("the app needs Gradio: pip install 'wovr-workbench[app]'") from error
    from apps.pages import inspect

    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = inspect.build(catalogue, strips)
    server.include_router(page.router)
    page.blocks.vibe_mode = False  # GRADIO_VIBE_MODE would let a page rewrite the program
    gr.mount_gradio_app(
        server,
        page.blocks,
        path="/",
        root_path="",
        allowed_paths=[],
        max_file_size=1,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        theme=_theme(),
        head=page.head,
    )
    server.add_middleware(Guard)
    return server


def serve(config: AppConfig) -> None:
    """Runs until Ctrl-C. Raises WovrError for a refused or impossible setting before anything listens."""
    import uvicorn

    check_share()
    host = check_host(config.host)
    for path in config.paths:
        if not path.is_dir():
            raise WovrError(f"there is no folder at {path}; give a run folder, or a folder of run folders")
    query = {"run": demo_run().name} if config.demo else {}
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_WATCH_DIRS", "GRADIO_VIBE_MODE"):
        os.environ.pop(name, None)  # settings of Gradio that would open more than we do
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = create_app(Catalogue(CatalogueConfig(paths=config.paths)))
    with listening(host, config.port) as listener:
        port = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{port}/" + (f"?{urlencode(query)}" if query else "")
        print(f"WoVR workbench: {url}\nStop it with Ctrl-C.", flush=True)
        if config.browser:
            timer = threading.Timer(0.8, webbrowser.open, (url,))
            timer.daemon = True
            timer.start()
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
        uvicorn.Server(settings).run(sockets=[listener])


def demo_run() -> Path:
    """The newest demo run that has anything finished. Raises WovrError, saying how to make one."""
    found = newest("demo")
    if found is None:
        raise WovrError(f"there is no demo run under {wovr_home() / 'runs'} yet; make one with `wovr demo`")
    return found


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket at the first free port from `port` on. Raises WovrError when none of a hundred is free."""
    if not 0 <= port <= 65535:
        raise WovrError(f"--port must be between 0 and 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
            raise WovrError(f"cannot listen at {host}: {error.strerror}") from error
        with listener:
            yield listener
        return
    raise WovrError(f"no free port at {host} from {port} on; give another --port")


def _theme() -> object:
    """Gradio's plainest theme with fonts of the system: nothing is fetched from elsewhere."""
    import gradio as gr

    sans = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "DejaVu Sans", "sans-serif")
    mono = ("ui-monospace", "DejaVu Sans Mono", "monospace")
    return gr.themes.Base(font=sans, font_mono=mono)
