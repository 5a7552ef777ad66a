"""Benchmarks: `wovr bench NAME` measures something beside its baseline, in one run.

A bench is a module with `run(...) -> list[Row]` whose arguments all have defaults. It is imported only when
it is asked for.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

from wovr_core.errors import UnknownNameError


class Row(TypedDict):
    """One measured value."""

    name: str
    value: float
    unit: str
    baseline: float | None
    """The same quantity of what it is compared with, or None."""
    ratio: float | None
    """value / baseline."""


BENCHES: dict[str, str] = {
    "render": "apps.bench.render",
    "experts": "apps.bench.experts",
    "scrubber": "apps.bench.scrubber",
    "collect": "apps.bench.collect",
    "imagine": "apps.bench.imagine",
    "train": "apps.bench.train",
    "jobs": "apps.bench.jobs",
    "io": "apps.bench.io",
    "doctor": "apps.bench.doctor",
    "gallery": "apps.bench.gallery",
    "robot": "apps.bench.robot",
    "review": "apps.bench.review",
}
"""Name -> module."""


def row(name: str, value: float, unit: str, baseline: float | None = None) -> Row:
    """A row, its ratio computed."""
    ratio = value / baseline if baseline else None
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio}


def describe(name: str) -> str:
    """The first line of what the bench says of itself, without importing it."""
    path = Path(__file__).parent / f"{BENCHES[name].rsplit('.', 1)[-1]}.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def run(name: str) -> list[Row]:
    """Run the bench of this name. Raises UnknownNameError."""
    if name not in BENCHES:
        raise UnknownNameError("bench", name, BENCHES)
    return cast(list[Row], importlib.import_module(BENCHES[name]).run())


def table(rows: Sequence[Row]) -> str:
    """The rows as text in aligned columns."""
    header = ("name", "value", "unit", "baseline", "ratio")
    cells = [header] + [
        (r["name"], _number(r["value"]), r["unit"], _number(r["baseline"]), _number(r["ratio"])) for r in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    lines = []
    for line in cells:
        name, value, unit, baseline, ratio = line
        lines.append(
            f"{name:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  "
            f"{baseline:>{widths[3]}}  {ratio:>{widths[4]}}".rstrip()
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
