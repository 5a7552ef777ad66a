"""What the records say of each trial: a function of them alone, computed anew whenever somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wovr_core.robots.evaluation.plan import Plan, ScheduledTrial
from wovr_core.robots.evaluation.records import Record

VOID = ("fault", "interrupted")
"""Ends of an attempt that say nothing of the policy: the trial is begun again, as often as the plan allows."""
FAILED = ("safety_abort", "operator_stop")
"""Ends that count as failures whatever is seen on the film, unless the trial is excluded with a reason."""

OPERATOR, VIDEO = "operator", "video"
Stage = Literal["waiting", "running", "ran", "labelled", "excluded"]


@dataclass(frozen=True)
class Label:
    """One person's verdict."""

    by: str
    success: bool
    source: str
    """"person" or "simulator": LIBERO's predicate, standing in for a person."""
    note: str
    time: float


@dataclass
class TrialState:
    """One trial of the schedule as it stands."""

    scheduled: ScheduledTrial
    attempts: list[dict[str, Any]] = field(default_factory=list)
    """Body of each attempt's end (or begin, while it runs): "how" is missing while it runs."""
    operator: Label | None = None
    video: Label | None = None
    exclusion: Mapping[str, Any] | None = None
    """{"by", "why"}"""
    resets: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> Mapping[str, Any] | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def how(self) -> str:
        """How the last attempt ended; empty before."""
        return str((self.last or {}).get("how", ""))

    @property
    def stage(self) -> Stage:
        if self.exclusion is not None:
            return "excluded"
        if self.last is None:
            return "waiting"
        if not self.how:
            return "running"
        if self.how in FAILED or (self.how == "finished" and self.operator is not None):
            return "labelled"
        return "ran"

    def repeatable(self, plan: Plan) -> bool:
        """Whether it ended for a reason that lets it be begun again."""
        return self.exclusion is None and self.how in VOID and len(self.attempts) < plan.protocol.attempts

    def missing(self, plan: Plan) -> str:
        """What is left to do before unblinding; empty when nothing is."""
        if self.exclusion is not None:
            return ""
        if self.last is None or self.repeatable(plan):
            return "has not been run"
        if not self.how:
            return "is running, or was interrupted and not taken up again"
        if self.how in VOID:
            return f"ended as {self.how} {len(self.attempts)} times: exclude it, with a reason"
        if self.how == "finished" and self.operator is None:
            return "has no operator's label"
        if self.how == "finished" and self.scheduled.second_label and self.video is None:
            return "has no second label from the video"
        return ""

    @property
    def success(self) -> bool | None:
        """What counts: the operator's label; a failure where the trial was aborted; None while open or excluded."""
        if self.exclusion is not None or not self.how or self.how in VOID:
            return None
        if self.how in FAILED:
            return False
        return None if self.operator is None else self.operator.success

    @property
    def disagree(self) -> bool:
        """Whether film and operator say different things."""
        return self.operator is not None and self.video is not None and self.operator.success != self.video.success


@dataclass
class Standing:
    """The whole evaluation as it stands."""

    trials: list[TrialState]
    unblinded: Record | None = None
    stopped: Record | None = None
    """The sequential test's end."""
    abandoned: Record | None = None
    late: list[Record] = field(default_factory=list)
    """What was written after unblinding: there must be nothing."""

    def required(self) -> Sequence[TrialState]:
        """The trials that a report must account for: all, or those before a declared or stated end.

        A trial that was begun is never left out, whatever the end says of how many there were.
        """
        end = self.stopped or self.abandoned
        if end is None:
            return self.trials
        begun = max((t.scheduled.number for t in self.trials if t.attempts), default=0)
        return self.trials[: max(begun, int(end.body["trials"]))]


def standing(plan: Plan, records: Sequence[Record]) -> Standing:
    """Read the records in their order."""
    result = Standing([TrialState(trial) for trial in plan.schedule])
    for record in records:
        body = record.body
        if result.unblinded is not None:
            result.late.append(record)
        if record.kind == "unblind":
            result.unblinded = record
        elif record.kind == "stop":
            result.stopped = record
        elif record.kind == "abandon":
            result.abandoned = record
        else:
            _take(result.trials[int(body["trial"]) - 1], record)
    return result


def _take(trial: TrialState, record: Record) -> None:
    body = dict(record.body)
    if record.kind == "begin":
        trial.attempts.append({**body, "began": record.time})
        # What was said of a void attempt does not hold for the next one.
        trial.operator = trial.video = None
    elif record.kind in ("end", "interrupted"):
        how = "interrupted" if record.kind == "interrupted" else body["how"]
        trial.attempts[-1] = {**trial.attempts[-1], **body, "how": how, "ended": record.time}
    elif record.kind == "reset":
        trial.resets.append(body)
    elif record.kind == "exclude":
        trial.exclusion = {"by": body["by"], "why": body["why"], "time": record.time}
    elif record.kind == "label":
        label = Label(body["by"], bool(body["success"]), body["source"], body["note"], record.time)
        if body["role"] == OPERATOR:
            trial.operator = label
        else:
            trial.video = label
