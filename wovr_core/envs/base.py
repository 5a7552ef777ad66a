"""What every environment of the library offers: restore any instant exactly, step, and serve pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wovr_core.types import FloatArray, Frames, StateArray, TaskId


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
