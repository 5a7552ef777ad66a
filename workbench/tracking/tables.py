"""Evaluations and audits as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.store.items import verdict_of
from workbench.tracking.stages import StageView
from wovr_core.files import read_json

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """Rows of equal length."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def tables_of(stage: StageView) -> list[Table]:
    """What a finished stage found, one row per trial or rollout; nothing for other kinds of stage."""
    if stage.outputs is None:
        return []
    if stage.kind == "evaluate":
        return [_trials(stage.outputs)]
    if stage.kind == "audit":
        rows = stage.file(stage.outputs["rows"])
        return [] if rows is None else [_audit(read_json(rows))]
    return []


def _trials(outputs: dict[str, Any]) -> Table:
    rows = tuple(
        (outputs["policy"], int(task), state, success)
        for task, outcomes in outputs["outcomes"].items()
        for state, success in enumerate(outcomes)
    )
    return Table("trials", ("policy", "task", "initial_state", "success"), rows)


def _audit(found: list[dict[str, Any]]) -> Table:
    columns = ("rollout", "task", "depth", "imagined_success", "real_success", "verdict", "divergence_last")
    rows = tuple(
        (
            row["rollout_id"],
            row["task"],
            row["depth"],
            row["imagined_success"],
            row["real_success"],
            verdict_of(row["imagined_success"], row["real_success"]),
            row["divergence"][-1],
        )
        for row in found
    )
    return Table("audit", columns, rows)


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell).replace("|", "\\|")
