"""Notebooks are executed by a real kernel, in a WOVR_HOME that holds caches and no run: a clean checkout."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CACHES = ("cache", "matplotlib", "mesa", "meshes", "numba", "textures")
"""What LIBERO's first use leaves in WOVR_HOME: shared with all other tests, for it takes long to make."""


@pytest.fixture(scope="session")
def tool() -> Any:
    """tools/notebooks.py as a module."""
    spec = importlib.util.spec_from_file_location("wovr_notebooks_tool", ROOT / "tools" / "notebooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Executed:
    """What a notebook left behind."""

    outputs: list[Any]
    """Of all code cells, in order, as nbformat has them."""
    home: Path
    """Its WOVR_HOME."""

    @property
    def printed(self) -> str:
        """Everything its cells printed."""
        return "".join(o.text for o in self.outputs if o.output_type == "stream" and o.name == "stdout")

    @property
    def complaints(self) -> list[str]:
        """What went to stderr: warnings, progress bars. A reader should see none."""
        return [o.text for o in self.outputs if o.output_type == "stream" and o.name == "stderr"]

    @property
    def figures(self) -> int:
        """Plotly figures shown."""
        return self._count("application/vnd.plotly.v1+json")

    @property
    def widgets(self) -> int:
        """Widgets shown: sliders, scrubbers."""
        return self._count("application/vnd.jupyter.widget-view+json")

    def _count(self, kind: str) -> int:
        return sum(kind in output.get("data", {}) for output in self.outputs)


@pytest.fixture
def run_notebook(tool: Any, wovr_home: Path, tmp_path: Path) -> Callable[..., Executed]:
    """`run_notebook("01_libero_episodes", WOVR_RUN=...)`: executed from top to bottom, its assertions included.

    The fast path unless `fast=False`. Keywords are environment variables of the kernel.
    """
    pytest.importorskip("nbclient")
    pytest.importorskip("anywidget")

    def run(name: str, fast: bool = True, **environment: str) -> Executed:
        home = tmp_path / "home"
        home.mkdir()
        for cache in CACHES:
            (wovr_home / cache).mkdir(exist_ok=True)
            (home / cache).symlink_to(wovr_home / cache, target_is_directory=True)
        settings = {"WOVR_HOME": str(home), tool.FAST: "1" if fast else "0", "OMP_NUM_THREADS": "1"}
        script = ROOT / "notebooks" / f"{name}.py"
        notebook = tool.execute(script, tmp_path, settings | environment)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        return Executed(outputs, home)

    return run
