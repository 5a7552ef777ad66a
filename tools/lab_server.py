"""JupyterLab on loopback, for the pictures of a notebook."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from wovr_core.errors import WovrError


@contextlib.contextmanager
def jupyterlab(work: Path, own: Path, extra: dict[str, str]) -> Iterator[tuple[str, str]]:
    """JupyterLab over a folder, on a free loopback port, with settings of its own; yields its address and token."""
    token = secrets.token_hex(16)
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    settings = {
        name: str(own / name.lower()) for name in (*folders, "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.expose_app_in_browser=True", "--ServerApp.terminals_enabled=False",
    ]  # fmt: skip
    own.mkdir(parents=True)
    log = own / "lab.log"
    with log.open("wb") as file:
        environment = os.environ | settings | extra
        server = subprocess.Popen(command, env=environment, cwd=work, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield address(server, log, token), token
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def address(server: subprocess.Popen[bytes], log: Path, token: str) -> str:
    """Where JupyterLab answers. Raises WovrError."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text(errors="replace"))
        if found:
            url = f"http://127.0.0.1:{found[1]}"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=5).close()
                return url
        time.sleep(0.2)
    raise WovrError(f"JupyterLab did not start: {log.read_text(errors='replace')[-500:]}")
