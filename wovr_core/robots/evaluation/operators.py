"""Who stands in for the person at the robot in the simulated lab."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.overlay import Overlay
from wovr_core.robots.evaluation.plan import ScheduledTrial
from wovr_core.robots.lab import SimulatedLab
from wovr_core.robots.pictures import PictureRecipe, to_frame, upright
from wovr_core.robots.runner import TrialRun
from wovr_core.types import Frames

SIMULATOR = "simulator"


class LabOperator:
    """Arranges the scene to the bit, acknowledges, and labels by LIBERO's own predicate: the record says so."""

    name = SIMULATOR

    def __init__(self, lab: SimulatedLab, labels: bool = True) -> None:
        """labels: whether it judges, or leaves that to people."""
        self._lab = lab
        self._labels = labels

    def prepare(self, trial: ScheduledTrial, wanted: Frames, look: Callable[[], Overlay]) -> Overlay | None:
        """Never says no. A reflex of the trial before is acknowledged."""
        self._lab.recover(operator_ack=True)
        self._lab.arrange(trial.condition)
        return look()

    def acknowledged(self) -> None:
        """Nothing is left to do: `prepare` did it all."""

    def judge(self, evaluation: Evaluation, trial: ScheduledTrial, run: TrialRun) -> None:
        if self._labels and run.episode is not None:
            note = "LIBERO's predicate at any step of the trial"
            evaluation.label(trial.number, self.name, run.episode.succeeded, note=note, source=SIMULATOR)


def initial_pictures(lab: SimulatedLab, recipe: PictureRecipe, conditions: Iterable[int]) -> dict[int, Frames]:
    """Condition -> (size, size, 3) upright picture of it, for a plan."""
    pictures = {}
    for condition in conditions:
        lab.arrange(condition)
        pictures[condition] = upright(to_frame(lab.camera.read().rgb, recipe))
    return pictures
