"""Writes notebooks/*.ipynb from their paired scripts: without outputs, with cell ids that stay the same.

python tools/notebooks.py [--check]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a pair disagrees")
    check = parser.parse_args().check
    stale = []
    for script in sorted(NOTEBOOKS.glob("*.py")):
        path, text = script.with_suffix(".ipynb"), notebook_text(script)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        print(("differ from their scripts: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
