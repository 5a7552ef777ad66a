"""What a trial on a robot is made of: its settings, the policy's and the world's interfaces, its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wovr_core.errors import WovrError
from wovr_core.robots.base import Clock
from wovr_core.robots.clock import WallClock
from wovr_core.robots.pictures import PictureRecipe
from wovr_core.types import Episode, FloatArray, Frames, IntArray, StateArray

How = Literal["finished", "safety_abort", "operator_stop", "fault", "interrupted"]
GRIPPER_OPEN = 0.08
"""m"""


@dataclass(frozen=True)
class RunnerConfig:
    """How a policy is run on a robot."""

    max_steps: int = 200
    """Actions of the policy after which a trial ends; steps on hold do not count."""
    translation: float = 0.05
    """m that an action of 1 asks for: LIBERO's controller."""
    rotation: float = 0.5
    """rad that an action of 1 asks for."""
    patience: float = 0.6
    """Share of a period that a decision may take before the step is given up and the arm holds."""
    absent_after: float = 20.0
    """s on hold for want of the operator's key, or of a decision, after which the trial is ended."""
    steps_after_success: int = 8
    """Where the world itself tells success (in simulation): steps recorded after it."""
    gripper_speed: float = 0.1
    """m/s"""
    gripper_force: float = 20.0
    """N"""
    picture: PictureRecipe = field(default_factory=PictureRecipe)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise WovrError(f"max_steps {self.max_steps}: a trial is at least one action")
        if not self.patience > 0:
            raise WovrError(f"patience {self.patience} is not a positive share of a period")


@dataclass(frozen=True)
class Decision:
    """A chunk of C actions."""

    actions: FloatArray
    """(C, A) raw: dx dy dz, drx dry drz in [-1, 1], gripper (-1 open, +1 close)."""
    tokens: IntArray | None = None
    """(C, A)"""
    log_probs: FloatArray | None = None
    """(C, A)"""


class Actor(Protocol):
    """A policy as the runner needs it (`policy.acting.PolicyActor`). It is called from one other thread only."""

    def begin(self, seed: int) -> None:
        """A trial begins; all that is drawn at random in it follows from the seed."""
        ...

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Decision:
        """frame (H, W, 3) in PICTURE_CONVENTION, previous (A,) as it was really executed."""
        ...


class RunnerClock(Clock, Protocol):
    """Time that can wait for a decision: in simulation the world may stand still meanwhile."""

    def wait(self, future: Future[Any], seconds: float) -> bool:
        """Whether it is done within so many seconds."""
        ...


class PatientClock(WallClock):
    """The machine's time, for as long as a decision may take."""

    def wait(self, future: Future[Any], seconds: float) -> bool:
        try:
            future.exception(timeout=max(seconds, 0.0))
        except FutureTimeout:
            return False
        return True


class World(Protocol):
    """What only a simulation can tell."""

    def truth(self) -> bool:
        """Whether the task is solved now."""
        ...

    def sim_state(self) -> StateArray:
        """(S,) all that replays this instant."""
        ...


@dataclass(frozen=True)
class Wishes:
    """What the people (and the process) around a trial want at the moment; asked at every step."""

    dead_man: Callable[[], bool] = lambda: True
    """Whether the operator's key is pressed."""
    stop: Callable[[], bool] = lambda: False
    """Whether the operator ends the trial here: solved, hopeless or unsafe. No safety function."""
    watch: Callable[[Frames, int], None] = lambda frame, step: None
    """Is shown each frame, for a page."""


@dataclass(frozen=True)
class TrialRun:
    """What came of one attempt."""

    how: How
    why: str
    """Empty when it ended as it should."""
    episode: Episode | None
    """None when not even a first frame was seen."""
    late_steps: int
    """Steps on hold because the policy was late."""
    held_steps: int
    """Steps on hold for another reason."""
    clips: dict[str, int]
    """Limit -> how many commands it changed or refused."""
    seconds: float
