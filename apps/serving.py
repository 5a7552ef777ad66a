"""Runs the app: refuses what would open it to others, finds a port, opens a browser."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from apps.guard import GuardConfig, RefusedError, check_host, check_share, is_loopback
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.starter import unpack as starter
from wovr_core.errors import MissingDependencyError, WovrError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from workbench.server.access import Access

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
    """Open the newest demo run that has anything finished, or the starter pack."""
    auth: bool = False
    """Let nobody in without signing in, on this machine too. Beyond loopback that is always so."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: tuple[str, ...] = ()
    """What browsers call this machine, beside the address it listens at."""


def serve(config: AppConfig) -> None:
    """Runs until Ctrl-C. Raises WovrError for a refused or impossible setting before anything listens."""
    check_share()
    tls = tls_files(config)
    access = access_of(config)
    host = check_host(config.host, accounts=len(access.accounts.all()) if access else 0, tls=tls is not None)
    for path in config.paths:
        if not path.is_dir():
            raise WovrError(f"there is no folder at {path}; give a run folder, or a folder of run folders")
    query = {"run": starter.demo_run().name} if config.demo else {}
    tame_gradio()
    names = known_names(host, config.names)
    app = application(config, access, GuardConfig(names=names, tls=tls is not None))
    with listening(host, config.port) as listener:
        port = listener.getsockname()[1]
        shown = config.names[0] if config.names else f"[{host}]" if ":" in host else host
        url = f"{'https' if tls else 'http'}://{shown}:{port}/" + (f"?{urlencode(query)}" if query else "")
        print(f"WoVR workbench: {url}\nStop it with Ctrl-C.", flush=True)
        if config.browser:
            timer = threading.Timer(0.8, webbrowser.open, (url,))
            timer.daemon = True
            timer.start()
        run_server(app, listener, tls)


def run_server(app: FastAPI, listener: socket.socket, tls: tuple[Path, Path] | None) -> None:
    """Serves until Ctrl-C."""
    import uvicorn

    settings = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=1,
        server_header=False,
        proxy_headers=False,  # a forwarded address could be made up, and would get around the throttle
        limit_concurrency=512,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    uvicorn.Server(settings).run(sockets=[listener])


def application(config: AppConfig, access: Access | None = None, guard: GuardConfig | None = None) -> FastAPI:
    """The app over the runs of this machine. Raises MissingDependencyError without Gradio."""
    try:
        from apps.app import AppSecurity, create_app
        from apps.services import Services, local_user
    except ImportError as error:
        raise MissingDependencyError("the app needs Gradio: pip install 'wovr-workbench[app]'") from error
    from workbench.server.access import witness_into
    from workbench.server.audit_log import AuditLog

    me = replace(local_user(), witness=witness_into(access.log if access else AuditLog()))
    services = Services(Catalogue(CatalogueConfig(paths=config.paths)), user_of=lambda _: me)
    return create_app(services, AppSecurity(access, guard or GuardConfig()))


def access_of(config: AppConfig) -> Access | None:
    """Accounts and sessions where signing in is asked for, or others can come. Raises RefusedError without accounts."""
    if not config.auth and is_loopback(config.host):
        return None
    from workbench.server.access import Access
    from workbench.server.accounts import Accounts

    accounts = Accounts()
    if not accounts.all():
        asked = "--auth" if config.auth else f"--host {config.host}"
        raise RefusedError(f"{asked} takes an account; make one with `wovr users add NAME --role operator`")
    return Access(accounts)


def tls_files(config: AppConfig) -> tuple[Path, Path] | None:
    """Certificate and key, read once to see that they are. Raises RefusedError."""
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise RefusedError("--tls-cert and --tls-key belong together; give both")
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"--tls-cert {config.tls_cert} and --tls-key {config.tls_key} cannot be used ({error}); "
            "both are PEM files, the key without a passphrase"
        ) from error
    return config.tls_cert, config.tls_key


def known_names(host: str, names: Sequence[str]) -> frozenset[str]:
    """Host names to answer to. Raises RefusedError where the app listens everywhere, and nobody said its name."""
    found = frozenset(name.strip().lower() for name in names)
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return found
    if address.is_unspecified and not found:
        raise RefusedError(f"--host {host} is every address; say by --name what browsers call this machine")
    return found if address.is_unspecified else found | {host}


def tame_gradio() -> None:
    """Takes Gradio's settings out of the environment, which would open more than we do; its scratch folder may stay."""
    for name in [name for name in os.environ if name.startswith("GRADIO_") and name != "GRADIO_TEMP_DIR"]:
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


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
