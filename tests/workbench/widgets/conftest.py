"""One JupyterLab with a real kernel for all tests of this folder that need one (xdist group "jupyter")."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def _write(path: Path, *cells: str) -> None:
    def cell(i: int, source: str) -> dict[str, Any]:
        fresh = {"metadata": {}, "outputs": [], "execution_count": None}
        return {"cell_type": "code", "id": f"c{i}", "source": source} | fresh

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    body = {"cells": [cell(i, source) for i, source in enumerate(cells)], "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps(body | {"nbformat": 4, "nbformat_minor": 5}))


def _run_cell(page: Any, index: int) -> None:
    """Until it has an output. JupyterLab drops what it is told before its kernel is connected, at times while it
    shows the cell as running: whenever the kernel rests and nothing has come, it is told again."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    resting = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    for _ in range(60):
        if cell.locator(".jp-OutputArea-output").count():
            return
        if resting.count():
            cell.locator(".cm-content").click(timeout=90_000)
            page.keyboard.press("Control+Enter")  # not Shift: that adds a cell each time
        page.wait_for_timeout(2000)
    raise AssertionError(f"cell {index} has no output")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """JupyterLab on a free loopback port, with folders of its own; `write(name, *cells)` makes a notebook in `work`
    and returns its address, `run_cell(page, index)` runs a cell that has an output."""
    root = tmp_path_factory.mktemp("lab")
    work = root / "work"
    work.mkdir()
    token = secrets.token_hex(16)
    own = {
        name: str(root / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
        )
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.terminals_enabled=False",
    ]  # fmt: skip
    repository = str(Path(__file__).parents[3])
    environment = os.environ | own | {"PYTHONPATH": repository, "OMP_NUM_THREADS": "1"}
    with (root / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=work, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = _address(root / "lab.log", server, token)

        def write(name: str, *cells: str) -> str:
            _write(work / name, *cells)
            # In a workspace of its own: the default one opens what an earlier test left open, in front of it.
            return f"{url}/lab/workspaces/{Path(name).stem}/tree/{name}?token={token}"

        yield SimpleNamespace(work=work, write=write, run_cell=_run_cell)
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()


def _address(log: Path, server: subprocess.Popen[bytes], token: str) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/lab", log.read_text(errors="replace"))
        if found:
            url = f"http://127.0.0.1:{found[1]}"
            try:
                urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=5)
                return url
            except OSError:
                pass
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")
