"""The notebooks as files: paired with scripts, stripped, short, and each with a test that executes it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))


def test_there_are_notebooks_and_each_has_its_script() -> None:
    assert SCRIPTS
    assert {s.stem for s in SCRIPTS} == {n.stem for n in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_is_executed_by_a_test_of_its_own(script: Path) -> None:
    test = Path(__file__).with_name(f"test_{script.stem}.py")
    assert test.is_file(), "files are shared out among the workers: one for each notebook"
    assert f'"{script.stem}"' in test.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_and_notebook_agree_and_hold_no_outputs(tool: Any, script: Path) -> None:
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == tool.notebook_text(script), "run: python tools/notebooks.py"
    for cell in nbformat.reads(text, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_notebooks_call_the_packages_and_define_next_to_nothing(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 10, node.name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_leads_to_the_next(script: Path) -> None:
    following = SCRIPTS[SCRIPTS.index(script) + 1 :][:1]
    for other in following:
        assert f"({other.stem}.ipynb)" in script.read_text(encoding="utf-8"), "a link at the end"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_controls_still_work_when_all_cells_have_run(script: Path) -> None:
    """What a slider calls later must not have been closed by a cell below it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    closed = {
        call.func.value.id
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "close" and isinstance(call.func.value, ast.Name)
    }
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for call in calls:
        if ast.unparse(call.func).rsplit(".", 1)[-1] in ("interact", "Steering"):
            used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
            for name in used & functions.keys():
                used |= {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            assert not used & closed, ast.unparse(call)


def test_a_kernel_that_dies_fails_its_notebook_and_no_other(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1_dies.py").write_text("# %%\nimport os\n\nos.kill(os.getpid(), 9)\n")
    (tmp_path / "2_lives.py").write_text("# %%\nassert 1 + 1 == 2\n")
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    assert tool.run([], fast=True, out=None) == 1
    told = capsys.readouterr().out
    assert re.search(r"1_dies \.\.\. failed after \d+ s\nits kernel died.*\n2_lives \.\.\. \d+ s\n", told), told
