"""Policies of the simulated lab alone, with which a protocol can be tried out before anything was trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wovr_core.envs.expert.composition import expert_action
from wovr_core.robots.lab import SimulatedLab
from wovr_core.robots.runner import Actor, Decision
from wovr_core.types import CHUNK, NULL_ACTION, FloatArray, Frames


class ScriptedActor:
    """The scripted demonstrator, one action at a time. It looks at the simulation, not at the picture."""

    def __init__(self, lab: SimulatedLab) -> None:
        self._lab = lab

    def begin(self, seed: int) -> None:
        """It draws nothing."""

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Decision:
        return Decision(expert_action(self._lab.env).astype(np.float32)[None])


class ClumsyActor(ScriptedActor):
    """The scripted demonstrator, with a share of trials, told by their seeds, in which it stops halfway."""

    def __init__(self, lab: SimulatedLab, share: float = 0.5) -> None:
        super().__init__(lab)
        self._share = share
        self._left = 0

    def begin(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._left = int(generator.integers(10, 40)) if generator.random() < self._share else 10**9

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Decision:
        self._left -= 1
        return super().decide(frame, instruction, previous) if self._left > 0 else Decision(NULL_ACTION[None].copy())


class StillActor:
    """Does nothing."""

    def begin(self, seed: int) -> None:
        """It draws nothing."""

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Decision:
        return Decision(np.repeat(NULL_ACTION[None], CHUNK, axis=0))


LAB_ACTORS: dict[str, Callable[[SimulatedLab], Actor]] = {
    "scripted": ScriptedActor,
    "clumsy": ClumsyActor,
    "still": lambda lab: StillActor(),
}
