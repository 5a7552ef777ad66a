"""The report as data; or a refusal that says what is wrong. There is no report of part of an evaluation in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wovr_core
from wovr_core.data.episode_files import SUFFIX
from wovr_core.errors import WovrError
from wovr_core.files import sha256_file
from wovr_core.robots.evaluation.evaluation import Evaluation, attempt_name
from wovr_core.robots.evaluation.plan import PICTURES
from wovr_core.robots.evaluation.records import Record
from wovr_core.robots.evaluation.statistics import Rate, barnard, difference
from wovr_core.robots.evaluation.trials import VOID, Standing, TrialState

SCHEMA = 1


class ReportRefusedError(WovrError):
    """The evaluation is not in a state in which its result may be told."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = list(reasons)
        shown = "; ".join(self.reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        super().__init__(f"no report: {shown}")

    def __reduce__(self) -> tuple[type[ReportRefusedError], tuple[list[str]]]:
        return type(self), (self.reasons,)


def build_report(evaluation: Evaluation) -> dict[str, Any]:
    """JSON-ready. Raises ReportRefusedError, naming every reason, and TamperedError for a broken chain."""
    records = evaluation.log.read()
    standing = evaluation.standing()
    reasons = [*_unfinished(evaluation, standing), *_changed_files(evaluation, standing)]
    if reasons:
        raise ReportRefusedError(reasons)
    plan = evaluation.plan
    actors = {t.scheduled.number: evaluation.policy_of(t.scheduled.number) for t in standing.trials}
    required = list(standing.required())
    rates = {c.name: _rate([t for t in required if actors[t.scheduled.number] == c.name]) for c in plan.contestants}
    assert standing.unblinded is not None
    return {
        "schema": SCHEMA,
        "wovr": wovr_core.__version__,
        "name": plan.name,
        "robot": plan.robot,
        "simulated": plan.simulated,
        "task": asdict(plan.task),
        "planned": plan.created,
        "unblinded": {"by": standing.unblinded.body["by"], "time": standing.unblinded.time},
        "digests": {"plan": evaluation.digest, "envelope": plan.seal, "records": records[-1].digest},
        "protocol": asdict(plan.protocol),
        "ended_early": _early(standing),
        "policies": [_policy(asdict(c), rates[c.name]) for c in plan.contestants],
        "comparison": _comparison(evaluation, rates),
        "disagreements": [_disagreement(t) for t in required if t.disagree],
        "second_labels": sum(t.video is not None for t in required),
        "exclusions": [_exclusion(t, actors) for t in required if t.exclusion is not None],
        "void_attempts": [
            {"trial": t.scheduled.number, "attempt": i + 1, "how": a.get("how", ""), "why": a.get("why", "")}
            for t in required
            for i, a in enumerate(t.attempts)
            if a.get("how") in VOID
        ],
        "trials": [_trial(t, actors[t.scheduled.number]) for t in required],
        "not_run": len(standing.trials) - len(required),
        "label_sources": sorted({t.operator.source for t in required if t.operator is not None}),
    }


def _unfinished(evaluation: Evaluation, standing: Standing) -> list[str]:
    reasons = evaluation.missing()
    if standing.unblinded is None:
        reasons.append("it is not unblinded yet: `wovr robot report NAME --unblind YOUR-NAME`, once labels are in")
    for record in standing.late:
        what = f"trial {record.body['trial']}" if "trial" in record.body else "the evaluation"
        reasons.append(f"{what} was given a record of kind {record.kind!r} after unblinding (line {record.number})")
    if not evaluation.stop_was_due():
        assert standing.stopped is not None
        reasons.append(
            f"line {standing.stopped.number} ends it as decided, but by the records before it the declared test was not"
        )
    return reasons


def _changed_files(evaluation: Evaluation, standing: Standing) -> list[str]:
    """Episodes, films and initial pictures must be the bytes that were recorded."""
    wanted: dict[Path, str] = {
        evaluation.folder / PICTURES / f"{condition}.png": digest
        for condition, digest in evaluation.plan.pictures.items()
    }
    for trial in standing.trials:
        for index, attempt in enumerate(trial.attempts, 1):
            name = attempt_name(trial.scheduled.number, index)
            if "episode" in attempt:
                wanted[evaluation.folder / "episodes" / f"{name}{SUFFIX}"] = attempt["episode"]
                wanted[evaluation.folder / "videos" / f"{name}.mp4"] = attempt["video"]
    reasons = []
    for path, digest in wanted.items():
        where = path.relative_to(evaluation.folder)
        if not path.exists():
            reasons.append(f"{where} is missing")
        elif sha256_file(path) != digest:
            reasons.append(f"{where} is not what was recorded")
    return reasons


def _rate(trials: Sequence[TrialState]) -> Rate:
    counted = [t for t in trials if t.exclusion is None]
    return Rate(
        successes=sum(bool(t.success) for t in counted),
        trials=len(counted),
        excluded=len(trials) - len(counted),
        repeated=sum(len(t.attempts) > 1 for t in trials),
    )


def _policy(contestant: dict[str, Any], rate: Rate) -> dict[str, Any]:
    return {
        **contestant,
        "successes": rate.successes,
        "trials": rate.trials,
        "excluded": rate.excluded,
        "repeated": rate.repeated,
        "rate": rate.successes / rate.trials if rate.trials else None,
        "wilson": list(rate.wilson),
        "clopper_pearson": list(rate.exact),
        # Were every excluded trial a failure.
        "worst_case": [rate.successes, rate.trials + rate.excluded],
    }


def _comparison(evaluation: Evaluation, rates: dict[str, Rate]) -> dict[str, Any] | None:
    if len(rates) != 2:
        return None
    (first, a), (second, b) = rates.items()
    counts = ((a.successes, a.trials), (b.successes, b.trials))
    delta, low, high = difference(*counts)
    found: dict[str, Any] = {
        "first": first, "second": second, "difference": delta, "newcombe": [low, high], "barnard_p": barnard(*counts),
        "alpha": evaluation.plan.protocol.alpha, "design": evaluation.plan.protocol.design,
    }  # fmt: skip
    if evaluation.plan.protocol.design == "sequential":
        result = evaluation.sequential()
        found["sequential"] = {
            "e_values": list(result.e_values), "stopped_at": result.stopped_at, "p_value": result.p_value,
            "source": "Turner, Ly, Grünwald 2024",
        }  # fmt: skip
        found["different"] = result.stopped_at is not None
    else:
        found["different"] = found["barnard_p"] <= evaluation.plan.protocol.alpha
    return found


def _early(standing: Standing) -> dict[str, Any] | None:
    record: Record | None = standing.stopped or standing.abandoned
    return None if record is None else {"kind": record.kind, "time": record.time, **record.body}


def _disagreement(trial: TrialState) -> dict[str, Any]:
    assert trial.operator is not None
    assert trial.video is not None
    return {"trial": trial.scheduled.number, "operator": asdict(trial.operator), "video": asdict(trial.video)}


def _exclusion(trial: TrialState, actors: dict[int, str]) -> dict[str, Any]:
    assert trial.exclusion is not None
    return {"trial": trial.scheduled.number, "policy": actors[trial.scheduled.number], **trial.exclusion}


def _trial(trial: TrialState, actor: str) -> dict[str, Any]:
    last = trial.last or {}
    kept = (
        "began",
        "ended",
        "steps",
        "seconds",
        "late_steps",
        "held_steps",
        "clips",
        "why",
        "video",
        "episode",
        "truth",
    )
    similarity = trial.resets[-1]["similarity"] if trial.resets else None
    return {
        **asdict(trial.scheduled),
        "policy": actor,
        "how": trial.how,
        "attempts": len(trial.attempts),
        "success": trial.success,
        "operator": asdict(trial.operator) if trial.operator else None,
        "video_label": asdict(trial.video) if trial.video else None,
        "excluded": dict(trial.exclusion) if trial.exclusion else None,
        "similarity": similarity,
        "film": f"videos/{attempt_name(trial.scheduled.number, len(trial.attempts))}.mp4",
        **{key: last[key] for key in kept if key in last},
    }
