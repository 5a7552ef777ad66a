"""Runs the app: refuses what would open it to others, finds a port, opens a browser."""

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

from apps.guard import check_host, check_share
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig, newest
from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.files import wovr_home

if TYPE_CHECKING:
    from fastapi import FastAPI

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


def serve(config: AppConfig) -> None:
    """Runs until Ctrl-C. Raises WovrError for a refused or impossible setting before anything listens."""
    check_share()
    host = check_host(config.host)
    for path in config.paths:
        if not path.is_dir():
            raise WovrError(f"there is no folder at {path}; give a run folder, or a folder of run folders")
    query = {"run": demo_run().name} if config.demo else {}
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_WATCH_DIRS", "GRADIO_VIBE_MODE"):
        os.environ.pop(name, None)  # settings of Gradio that would open more than we do
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    app = application(config)
    with listening(host, config.port) as listener:
        port = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{port}/" + (f"?{urlencode(query)}" if query else "")
        print(f"WoVR workbench: {url}\nStop it with Ctrl-C.", flush=True)
        if config.browser:
            timer = threading.Timer(0.8, webbrowser.open, (url,))
            timer.daemon = True
            timer.start()
        import uvicorn

        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
        uvicorn.Server(settings).run(sockets=[listener])


def application(config: AppConfig) -> FastAPI:
    """The app over the runs of this machine. Raises MissingDependencyError without Gradio."""
    try:
        from apps.app import create_app
        from apps.services import Services
    except ImportError as error:
        raise MissingDependencyError("the app needs Gradio: pip install 'wovr-workbench[app]'") from error
    return create_app(Services(Catalogue(CatalogueConfig(paths=config.paths))))


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
