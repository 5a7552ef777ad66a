"""What page Robot shows of evaluations: who acts, and what the other person said, only after unblinding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.server.roles import User
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home
from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder
from wovr_core.robots.evaluation.trials import TrialState


def plans() -> list[Path]:
    return sorted((wovr_home() / "evaluations").glob("*/plan.json"), key=lambda p: p.stat().st_mtime, reverse=True)


def summary(name: str) -> dict[str, Any]:
    try:
        evaluation = Evaluation(evaluation_folder(name))
        standing = evaluation.standing()
        ran = sum(t.stage in ("ran", "labelled", "excluded") for t in standing.trials)
        state = "open"
        if standing.unblinded:
            state = "unblinded"
        elif standing.stopped or standing.abandoned:
            state = "stopped" if standing.stopped else "abandoned"
        task = evaluation.plan.task.instruction
        return {"name": name, "task": task, "ran": ran, "trials": len(standing.trials), "state": state}
    except WovrError as error:
        return {"name": name, "error": str(error)}


def row_of(trial: TrialState, policy: str, blind: bool, user: User) -> dict[str, Any]:
    """A row of the table. Before unblinding nobody sees who acts, and no one the other person's label."""

    def shown(label: Any) -> dict[str, Any] | None:
        if label is None:
            return None
        mine = label.by == user.name
        success = label.success if mine or not blind else None
        return {"by": label.by, "success": success, "note": label.note if mine else ""}

    return {
        "number": trial.scheduled.number,
        "condition": trial.scheduled.condition,
        "stage": trial.stage,
        "how": trial.how,
        "why": str((trial.last or {}).get("why", "")),
        "attempts": len(trial.attempts),
        "operator": shown(trial.operator),
        "video": shown(trial.video),
        "second": trial.scheduled.second_label,
        "excluded": dict(trial.exclusion) if trial.exclusion else None,
        "film": "video" in (trial.last or {}),
        "policy": policy,
    }
