"""What the desk of a robot (`robot_desk`) is set up with, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.session import Operator, Station


@dataclass(frozen=True)
class DeskConfig:
    """How long silence is taken for a sign of life."""

    key: float = 0.5
    """s that one word of the pressed key counts: the page sends one every 0.15 s."""
    lease: float = 10.0
    """s without a word from whoever armed it, after which the session ends."""
    look_every: float = 0.25
    """s between two pictures while a reset is awaited."""


class DeskError(WovrError):
    """What the desk does not allow at the moment."""


class Scene(Operator, Protocol):
    """What sets up a scene before a person looks at it: the lab does, a real arm's people do by hand."""

    def acknowledged(self) -> None:
        """A person says that the trial may begin."""
        ...


class OpenStation(Protocol):
    """A station in the thread that uses it; a context manager that lets go of the robot at the end."""

    @property
    def station(self) -> Station: ...

    @property
    def scene(self) -> Scene:
        """Sets up the scene where the lab can do so itself; asked before each reset is awaited."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class View:
    """What everybody may see of the desk."""

    phase: str = "idle"
    """idle, connecting, reset, running, label, ended"""
    evaluation: str = ""
    trial: int = 0
    trials: int = 0
    condition: int = 0
    step: int = 0
    similarity: float | None = None
    picture: int = 0
    """Number of the newest live picture."""
    key: bool = False
    holder: str = ""
    last: str = ""
    """How the trial before ended."""
    error: str = ""
