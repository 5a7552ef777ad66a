"""One evaluation's folder, and the rules of what may be done to it when.

plan.json       what was declared (see `plan`)          records.jsonl   what happened (see `records`)
sealed.json     who acts in which trial                 initial/        pictures of the initial conditions
episodes/       one file per attempt                    videos/         one film per attempt
steps/          what a running attempt has done so far  report.json, report.html
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wovr_core.errors import WovrError
from wovr_core.files import explain_disk_errors, wovr_home
from wovr_core.robots.evaluation.overlay import read_png
from wovr_core.robots.evaluation.plan import PICTURES, ScheduledTrial, open_envelope, read_plan
from wovr_core.robots.evaluation.records import Record, RecordLog
from wovr_core.robots.evaluation.sequential import SequentialResult, sequential_test
from wovr_core.robots.evaluation.trials import FAILED, OPERATOR, VIDEO, VOID, Standing, TrialState, standing
from wovr_core.types import Frames

RECORDS, LOCK = "records.jsonl", ".lock"


class ProtocolError(WovrError):
    """Something that the declared protocol does not allow."""


def evaluation_folder(name: str) -> Path:
    """$WOVR_HOME/evaluations/NAME. Raises WovrError for what is no plain name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise WovrError(f"{name!r} is no name for an evaluation: letters, digits, dot, dash and underscore")
    return wovr_home() / "evaluations" / name


class Evaluation:
    """An evaluation that was planned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan, self.digest = read_plan(folder)
        self.log = RecordLog(folder / RECORDS, self.digest)

    # -- looking

    def standing(self) -> Standing:
        """As it stands now. Raises TamperedError."""
        return standing(self.plan, self.log.read())

    def trial(self, number: int) -> TrialState:
        """Raises WovrError when there is no such trial."""
        self.plan.trial(number)
        return self.standing().trials[number - 1]

    def initial_picture(self, condition: int) -> Frames:
        """(H, W, 3) upright: what the scene should look like."""
        path = self.folder / PICTURES / f"{condition}.png"
        if not path.exists():
            raise WovrError(f"{path} is missing: restore it from where the plan was made")
        return read_png(path.read_bytes())

    def next_trial(self) -> ScheduledTrial | None:
        """The next to run, in the schedule's order; None when there is none (left)."""
        now = self.standing()
        if now.stopped or now.abandoned or now.unblinded:
            return None
        for trial in now.trials:
            if trial.stage == "waiting" or (trial.stage in ("running", "ran") and trial.repeatable(self.plan)):
                return trial.scheduled
        return None

    def missing(self) -> list[str]:
        """What is left before unblinding, a line for each trial."""
        lines = []
        for trial in self.standing().required():
            lack = trial.missing(self.plan)
            if lack:
                lines.append(f"trial {trial.scheduled.number} {lack}")
        return lines

    def sequential(self) -> SequentialResult:
        """The declared sequential test over the blocks that are complete, from the first on. Blind: it is the same
        whichever policy is which."""
        if self.plan.protocol.design != "sequential" or len(self.plan.contestants) != 2:
            raise ProtocolError("this evaluation has a fixed number of trials: no test before all of them are in")
        return sequential_test(_blocks(self._assignment(), self.standing().trials), self.plan.protocol.alpha)

    def stop_was_due(self) -> bool:
        """Whether the test had decided when its end was recorded, by the labels of that moment. True where there is
        no such end."""
        records = self.log.read()
        stop = standing(self.plan, records).stopped
        if stop is None:
            return True
        if self.plan.protocol.design != "sequential" or len(self.plan.contestants) != 2:
            return False
        then = standing(self.plan, records[: stop.number - 1]).trials
        return sequential_test(_blocks(self._assignment(), then), self.plan.protocol.alpha).stopped_at is not None

    # -- running (see `session`)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the right to run trials; what a crash left running is recorded as interrupted first."""
        path = self.folder / LOCK
        with explain_disk_errors(path):
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise WovrError(f"another process is running trials of {self.plan.name}") from error
            self._note_interrupted()
            yield
        finally:
            os.close(descriptor)

    def _note_interrupted(self) -> None:
        for trial in self.standing().trials:
            if trial.stage != "running":
                continue
            attempt = len(trial.attempts)
            name = attempt_name(trial.scheduled.number, attempt)
            steps = self.folder / "steps" / f"{name}.jsonl"
            done = steps.read_bytes().count(b"\n") if steps.exists() else 0
            body = {"trial": trial.scheduled.number, "attempt": attempt, "steps": done, "why": "the process ended"}
            self.log.append("interrupted", body)

    def begin(self, number: int, by: str) -> int:
        """A trial begins; returns the attempt's number, from 1. Raises ProtocolError when it may not."""

        def check(records: list[Record]) -> None:
            now = standing(self.plan, records)
            trial = now.trials[number - 1]
            if now.unblinded or now.stopped or now.abandoned:
                raise ProtocolError(f"{self.plan.name} is over: no more trials")
            if trial.stage != "waiting" and not trial.repeatable(self.plan):
                raise ProtocolError(f"trial {number} is {trial.stage} ({trial.how or 'now'}); it is not run again")

        attempt = len(self.trial(number).attempts) + 1
        self.log.append("begin", {"trial": number, "attempt": attempt, "by": by, "pid": os.getpid()}, check)
        return attempt

    def reset_done(self, number: int, by: str, similarity: float) -> None:
        """The operator acknowledged that the scene is as it should be."""
        self.plan.trial(number)
        self.log.append("reset", {"trial": number, "by": by, "similarity": round(similarity, 4)})

    def end(self, number: int, body: Mapping[str, Any]) -> None:
        """An attempt ended; `body` has "how" and what was measured."""
        self.log.append("end", {"trial": number, **body})

    def policy_of(self, number: int) -> str:
        """Who acts. For the session and, after unblinding, the report; no person is to be told before."""
        return self._assignment()[self.plan.trial(number).number - 1]

    def _assignment(self) -> list[str]:
        return open_envelope(self.folder, self.plan)

    # -- judging

    def label(
        self, number: int, by: str, success: bool, role: str = OPERATOR, note: str = "", source: str = "person"
    ) -> None:
        """One person's verdict. A later one of the same role supersedes; all stay in the records.

        Raises:
            ProtocolError: after unblinding; a trial that did not finish; the second label by the first's author.
        """
        if role not in (OPERATOR, VIDEO):
            raise ProtocolError(f"role {role!r}: {OPERATOR} or {VIDEO}")
        if source == "simulator" and not self.plan.simulated:
            raise ProtocolError("only a simulated lab can label its trials itself")
        by = _person(by)

        def check(records: list[Record]) -> None:
            now = standing(self.plan, records)
            trial = now.trials[number - 1]
            if now.unblinded:
                raise ProtocolError(f"{self.plan.name} is unblinded: labels are closed")
            if trial.exclusion is not None:
                raise ProtocolError(f"trial {number} is excluded")
            if trial.how != "finished":
                raise ProtocolError(f"trial {number} cannot be labelled: it {_state(trial)}")
            other = trial.video if role == OPERATOR else trial.operator
            if role == VIDEO and other is None:
                raise ProtocolError(f"trial {number} has no operator's label yet: the second comes second")
            if other is not None and other.by == by:
                raise ProtocolError(f"{by} has labelled trial {number} already: the other label is another person's")

        body = {"trial": number, "by": by, "success": bool(success), "role": role, "note": note[:2000],
                "source": source}  # fmt: skip
        self.plan.trial(number)
        self.log.append("label", body, check)

    def exclude(self, number: int, by: str, why: str) -> None:
        """Leave a trial out of the counts; it stays in the report with its reason. Raises ProtocolError."""
        if not why.strip():
            raise ProtocolError("an exclusion needs its reason")
        by = _person(by)

        def check(records: list[Record]) -> None:
            now = standing(self.plan, records)
            if now.unblinded:
                raise ProtocolError(f"{self.plan.name} is unblinded: nothing is excluded any more")
            if not now.trials[number - 1].how:
                raise ProtocolError(f"trial {number} has not ended: nothing to exclude")

        self.plan.trial(number)
        self.log.append("exclude", {"trial": number, "by": by, "why": why.strip()[:2000]}, check)

    def stop_if_decided(self) -> bool:
        """End a sequential evaluation whose test has crossed 1/alpha; whether it is (or was) ended so."""
        if self.plan.protocol.design != "sequential" or len(self.plan.contestants) != 2:
            return False
        now = self.standing()
        if now.stopped:
            return True
        result = self.sequential()
        if result.stopped_at is None or now.unblinded:
            return False
        # Trials that had begun by then are accounted for as well.
        begun = max((t.scheduled.number for t in now.trials if t.attempts), default=0)
        trials = max(begun, 2 * result.stopped_at)
        body = {"block": result.stopped_at, "trials": trials, "e_value": result.e_values[result.stopped_at - 1]}
        self.log.append("stop", body)
        return True

    def abandon(self, by: str, why: str) -> None:
        """End it before its declared end. The report will say so above everything else. Raises ProtocolError."""
        if not why.strip():
            raise ProtocolError("to abandon an evaluation needs a reason")
        now = self.standing()
        if now.unblinded or now.stopped or now.abandoned:
            raise ProtocolError(f"{self.plan.name} is over already")
        begun = max((t.scheduled.number for t in now.trials if t.attempts), default=0)
        self.log.append("abandon", {"by": _person(by), "why": why.strip()[:2000], "trials": begun})

    def unblind(self, by: str) -> None:
        """Open the envelope, once and for all. Raises ProtocolError while anything is missing."""
        by = _person(by)
        self._assignment()  # before anything is final: is it the right envelope?

        def check(records: list[Record]) -> None:
            now = standing(self.plan, records)
            if now.unblinded:
                raise ProtocolError(f"{self.plan.name} is unblinded already")
            lacks = [(t.scheduled.number, t.missing(self.plan)) for t in now.required()]
            lacks = [(number, lack) for number, lack in lacks if lack]
            if lacks:
                number, lack = lacks[0]
                more = f", and {len(lacks) - 1} more are not ready" if len(lacks) > 1 else ""
                raise ProtocolError(f"labels first, then names: trial {number} {lack}{more}")

        self.log.append("unblind", {"by": by}, check)


def attempt_name(number: int, attempt: int) -> str:
    """Of an attempt's files."""
    return f"trial-{number:03d}-{attempt}"


def _blocks(assignment: list[str], trials: list[TrialState]) -> list[tuple[bool, bool]]:
    """Outcomes of both policies for the complete blocks from the first on; a block with an excluded trial is left
    out, one that is open ends the list."""
    first = min(assignment)
    blocks = []
    for index in range(0, len(trials) - 1, 2):
        pair = trials[index : index + 2]
        if any(trial.exclusion is not None for trial in pair):
            continue
        outcomes = {assignment[index + i]: trial.success for i, trial in enumerate(pair)}
        if any(outcome is None for outcome in outcomes.values()):
            break
        other = next(name for name in outcomes if name != first)
        blocks.append((bool(outcomes[first]), bool(outcomes[other])))
    return blocks


def _state(trial: TrialState) -> str:
    if not trial.how:
        return "has not ended"
    return f"ended as {trial.how}" + (" and counts as a failure" if trial.how in FAILED else "")


def _person(name: str) -> str:
    if not name.strip() or len(name) > 100:
        raise ProtocolError("say who you are: a name of at most 100 characters")
    return name.strip()


__all__ = ["VOID", "Evaluation", "ProtocolError", "attempt_name", "evaluation_folder"]
