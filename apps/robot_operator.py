"""The person at a terminal, beside the simulated lab."""

from __future__ import annotations

from collections.abc import Callable

from workbench.server.roles import system_user
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.operators import LabOperator
from wovr_core.robots.evaluation.overlay import Overlay
from wovr_core.robots.evaluation.plan import ScheduledTrial
from wovr_core.robots.lab import SimulatedLab
from wovr_core.robots.runner import TrialRun
from wovr_core.types import Frames


class TerminalOperator:
    """Acknowledges resets and labels trials by answering questions. The lab arranges the scene itself."""

    def __init__(self, lab: SimulatedLab, ask: Callable[[str], str] = input) -> None:
        self.name = system_user()
        self._scene = LabOperator(lab, labels=False)
        self._ask = ask

    def prepare(self, trial: ScheduledTrial, wanted: Frames, look: Callable[[], Overlay]) -> Overlay | None:
        seen = self._scene.prepare(trial, wanted, look)
        assert seen is not None
        question = f"trial {trial.number}, condition {trial.condition}: similarity {seen.similarity:.3f}. Begin? [Y/n] "
        return None if self._answer(question, "yn", "y") == "n" else seen

    def judge(self, evaluation: Evaluation, trial: ScheduledTrial, run: TrialRun) -> None:
        answer = self._answer(f"trial {trial.number}: solved? [y]es, [n]o, [l]ater ", "ynl", "")
        if answer != "l":
            evaluation.label(trial.number, self.name, answer == "y")

    def _answer(self, question: str, allowed: str, default: str) -> str:
        while True:
            try:
                answer = self._ask(question).strip().lower()[:1] or default
            except EOFError:
                return "l" if "l" in allowed else "n"
            if answer and answer in allowed:
                return answer
