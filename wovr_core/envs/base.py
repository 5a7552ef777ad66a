"""What every environment of the library offers: restore any instant exactly, step, and serve pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wovr_core.errors import UnknownNameError
from wovr_core.plugins import ConfiguredPlugin
from wovr_core.types import Episode, FloatArray, Frames, StateArray, TaskId


class EnvConfig(Protocol):
    """What the stages read of any environment's configuration: frozen, hashable, with a `repr` that tells all."""

    @property
    def suite(self) -> str:
        """Names the family of its tasks in files and reports."""
        ...

    @property
    def size(self) -> int:
        """H = W of the frames, in pixels."""
        ...

    @property
    def view(self) -> str:
        """What the camera shows, for the record."""
        ...

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of what `Env.streams` draws beside each frame; () for most."""
        ...


@dataclass(frozen=True)
class StepResult:
    """What one action led to."""

    frame: Frames
    """(H, W, 3), in PICTURE_CONVENTION."""
    success: bool
    """The task's predicate at this frame."""


class Env(Protocol):
    """A real (simulated) environment. Nothing in it draws from a global random generator."""

    @property
    def config(self) -> Any:
        """An `EnvConfig`."""
        ...

    @property
    def task(self) -> TaskId: ...

    def reset(self, seed: int) -> Frames:
        """Draw a *training* start from the placement samplers with this seed; returns the first frame."""
        ...

    def reset_to_initial(self, index: int) -> Frames:
        """Go to one of the benchmark's own evaluation states (LIBERO: 0-49). Training never calls this."""
        ...

    def restore(self, sim_state: StateArray) -> Frames:
        """Go back to a saved instant, bit for bit; returns its frame."""
        ...

    def sim_state(self) -> StateArray:
        """(S,) all that `restore` needs."""
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Execute one raw action (A,)."""
        ...

    def poses(self) -> dict[str, FloatArray]:
        """Privileged positions and quaternions (7,) xyz + wxyz by body name, "eef" among them, for scripted experts."""
        ...

    def close(self) -> None: ...


class StreamingEnv(Env, Protocol):
    """An environment whose configuration may name streams."""

    def streams(self) -> dict[str, npt.NDArray[np.generic]]:
        """(H, W, ...) by name."""
        ...

    @property
    def segmentation_names(self) -> tuple[str, ...]: ...


def pick_task(suite: str, known: Sequence[TaskId], index: int) -> TaskId:
    """One of a suite's tasks. Raises UnknownNameError, which lists their numbers."""
    if not 0 <= index < len(known):
        raise UnknownNameError(f"task of {suite}", str(index), [str(i) for i in range(len(known))])
    return known[index]


@dataclass(frozen=True)
class EnvironmentPlugin(ConfiguredPlugin):
    """An environment: of the library (`environments.LIBERO`), or of another package (`wovr.environments`)."""

    build: Callable[[Any, int], Env]
    """(configuration, index of a task) -> the environment of that task."""
    tasks: Callable[[Any], Sequence[TaskId]]
    """configuration -> its tasks, by index."""
    demonstrate: Callable[[Any, int, Any], Episode] | None = None
    """(environment, seed of a training start, `ExpertConfig`) -> one scripted episode, `source` "expert" or
    "expert_fault", of a length that is a multiple of 8. Without it, stage `collect` needs imported episodes."""
    evaluation_states: int = 50
    """How many starts `Env.reset_to_initial` knows."""
