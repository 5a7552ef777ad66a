"""What Sphinx does with a docstring before docutils reads it: prose with code in backticks becomes its markup."""

from __future__ import annotations

import re
from typing import Any


def tidy(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings as docutils reads them: code in backticks is the only markup, what is laid out by hand stays so."""
    from sphinx.ext.napoleon import Config, GoogleDocstring

    if what not in ("attribute", "property", "data"):  # there a colon is no type
        sections = Config(napoleon_use_rtype=False)
        lines[:] = str(GoogleDocstring(lines, sections, app, what, name, obj, options)).splitlines()
    made = []
    for block in "\n".join(lines).split("\n\n"):
        rows = block.split("\n")
        by_hand = what == "module" and (any(r.startswith("  ") for r in rows) or
                                        any(re.search(r"\S   +\S", r) for r in rows))  # fmt: skip
        if by_hand:
            made.append("::\n\n" + "\n".join("    " + row for row in rows))
        elif re.match(r"\s*(:\w|\.\. )", rows[0]):
            made.append("\n".join(_fields(rows)))
        else:
            made.append("\n".join(_inline(row) for row in rows))
    lines[:] = "\n\n".join(made).split("\n")


def _fields(rows: list[str]) -> list[str]:
    """Rows of a field list (":param x: ..."): their texts are prose, their names are not."""
    return [m[1] + _inline(m[2]) if (m := re.match(r"(\s*:\w[^:]*:)(.*)", row)) else _inline(row) for row in rows]


def _inline(row: str) -> str:
    """Escape what is no code, and mark code as such."""
    parts = re.split(r"(`+[^`]*`+|(?<![\w*])\*\w(?:[^*`]*\w)?\*(?![\w*]))", row)
    for i, part in enumerate(parts):
        if part.startswith("`"):
            joined = i + 1 < len(parts) and re.match(r"\w", parts[i + 1])
            parts[i] = f"``{part.strip('`')}``" + ("\\ " if joined else "")
        elif not i % 2:  # what stands between single stars stays emphasised
            parts[i] = re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part.replace("\\", ""))
    return "".join(parts)


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a dataclass or pydantic makes up."""
    return True if name.startswith("__") else None
