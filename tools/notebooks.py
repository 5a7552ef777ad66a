"""The notebooks: writes notebooks/*.ipynb from their paired scripts (no outputs, stable cell ids), and executes them.

python tools/notebooks.py [--check]
python tools/notebooks.py --run [NAME ...] [--fast] [--out DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wovr_core.files import write_bytes

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from traitlets.config import Config

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
FAST = "WOVR_NOTEBOOK_FAST"
"""Set to 1, every notebook takes smaller numbers through the same code."""


def scripts() -> list[Path]:
    """The paired scripts, in reading order."""
    return sorted(NOTEBOOKS.glob("*.py"))


def notebook_text(script: Path) -> str:
    """The notebook of a py:percent script, as JSON."""
    import jupytext
    import nbformat

    notebook = jupytext.read(script)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{i} {cell.source}".encode()).hexdigest()[:8]
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=nbformat.NO_CONVERT)) + "\n"


def attentive() -> Config:
    """Settings by which a kernel's client looks again every second while it waits.

    pyzmq waits for an edge of the socket's descriptor, which a message sent at that moment (as widgets do) can use up:
    then the answer lies there and nobody looks, until the cell's time is over.
    """
    from queue import Empty

    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.channels import AsyncZMQSocketChannel
    from traitlets import Type
    from traitlets.config import Config

    class Channel(AsyncZMQSocketChannel):  # whose get_msg is a coroutine, where its own parent's is none
        async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                left = 1.0 if end is None else min(1.0, max(0.0, end - time.monotonic()))
                try:
                    return await super().get_msg(timeout=left)
                except Empty:
                    if end is not None and time.monotonic() >= end:
                        raise

    class Client(AsyncKernelClient):
        shell_channel_class = iopub_channel_class = control_channel_class = Type(Channel)

    return Config({"AsyncKernelManager": {"client_factory": Client}})


def execute(script: Path, folder: Path, environment: Mapping[str, str], cell_timeout: int = 900) -> NotebookNode:
    """Run a script's notebook from top to bottom in a kernel of its own.

    Args:
        folder: where the kernel works and keeps Jupyter's own files; nothing of the user's settings is read.
        environment: of the kernel, beside this process's.
        cell_timeout: seconds a cell may take.

    Returns:
        The executed notebook. Raises nbclient's CellExecutionError where a cell fails.
    """
    import nbclient
    import nbformat

    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    notebook = nbformat.reads(notebook_text(script), as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=cell_timeout,
        startup_timeout=300,
        kernel_name="python3",
        config=attentive(),
        resources={"metadata": {"path": str(folder)}},
    )
    for name in own.values():
        Path(name).mkdir(parents=True, exist_ok=True)
    client.execute(env=os.environ | own | {"PYTHONPATH": path} | dict(environment))
    return notebook


def write_pairs(check: bool) -> int:
    """Write each notebook that differs from its script, or only tell of it; 1 if it was only told."""
    stale = []
    for script in scripts():
        path, text = script.with_suffix(".ipynb"), notebook_text(script)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                write_bytes(path, text.encode())
    if stale:
        print(("differ from their scripts: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


def run(names: Sequence[str], fast: bool, out: Path | None) -> int:
    """Execute the notebooks whose names begin with one of `names` (all without any); 1 if a cell failed."""
    import nbformat
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    chosen = [s for s in scripts() if not names or s.name.startswith(tuple(names))]
    if not chosen:
        print(f"no notebook begins with {' or '.join(names)}; there are {', '.join(s.stem for s in scripts())}")
        return 2
    failed = []
    for script in chosen:
        print(f"{script.stem} ... ", end="", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                notebook = execute(script, Path(folder), {FAST: "1"} if fast else {})
            except (CellExecutionError, DeadKernelError, AssertionError) as error:
                # nbclient, cleaning up after a kernel that died, asserts that there is one
                failed.append(script.stem)
                why = error if isinstance(error, CellExecutionError) else "its kernel died: killed, or out of memory"
                print(f"failed after {time.monotonic() - began:.0f} s\n{why}")
                continue
        print(f"{time.monotonic() - began:.0f} s")
        if out:
            out.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, out / f"{script.stem}.ipynb")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a pair disagrees")
    parser.add_argument("--run", nargs="*", metavar="NAME", help="execute these (beginnings of names), or all")
    parser.add_argument("--fast", action="store_true", help="with --run: the fast path, as `make test` does")
    parser.add_argument("--out", type=Path, help="with --run: keep the executed notebooks in this folder")
    options = parser.parse_args()
    if options.run is not None:
        return run(options.run, options.fast, options.out)
    return write_pairs(options.check)


if __name__ == "__main__":
    sys.exit(main())
