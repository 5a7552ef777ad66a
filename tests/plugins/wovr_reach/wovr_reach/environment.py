"""Reach: a drawn hand (white) has to be brought to a block (red). Exact to replay, and drawn in a millisecond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wovr_core.envs.base import EnvironmentPlugin, StepResult
from wovr_core.envs.expert.demonstrations import ExpertConfig, Noise
from wovr_core.envs.recording import Recorder
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, Episode, FloatArray, Frames, StateArray, TaskId

SPEED = 0.06
"""How far full speed goes in one step; the table is 1 wide."""
NEAR = 0.08


@dataclass(frozen=True)
class ReachConfig:
    """Set these with `--set env.size=48`."""

    kind: Literal["reach"] = "reach"
    suite: str = "reach"
    size: int = 32
    """H = W of the frames, in pixels."""
    view: str = "full"
    streams: tuple[str, ...] = ()


class ReachEnv:
    """See `wovr_core.envs.base.Env`. The state is (hand x, hand y, block x, block y), in table widths."""

    def __init__(self, config: ReachConfig, task_index: int) -> None:
        self.config = config
        self.task = tasks(config)[task_index]
        self._state = np.full(4, 0.5)

    def reset(self, seed: int) -> Frames:
        return self._begin(np.random.default_rng([seed, 1]))

    def reset_to_initial(self, index: int) -> Frames:
        if not 0 <= index < ENVIRONMENT.evaluation_states:
            raise WovrError(f"reach has no evaluation state {index}; 0 to {ENVIRONMENT.evaluation_states - 1}")
        return self._begin(np.random.default_rng([index, 2]))

    def restore(self, sim_state: StateArray) -> Frames:
        self._state = np.array(sim_state, dtype=np.float64)
        return self.frame()

    def sim_state(self) -> StateArray:
        return self._state.copy()

    def step(self, action: FloatArray) -> StepResult:
        """Moves the hand by the action's dx, dy."""
        move = SPEED * np.clip(np.asarray(action, dtype=np.float64)[:2], -1, 1)
        self._state[:2] = np.clip(self._state[:2] + move, 0, 1)
        return StepResult(self.frame(), self.success)

    @property
    def success(self) -> bool:
        return bool(np.abs(self._state[:2] - self._state[2:]).max() < NEAR)

    def frame(self) -> Frames:
        """(H, W, 3) u8."""
        size = self.config.size
        picture = np.full((size, size, 3), 60, dtype=np.uint8)
        rows, columns = np.mgrid[:size, :size] / (size - 1)
        for (x, y), radius, colour in ((self._state[2:], 0.1, (220, 40, 40)), (self._state[:2], 0.07, (250,) * 3)):
            picture[np.maximum(np.abs(columns - x), np.abs(rows - y)) < radius] = colour
        return picture

    def poses(self) -> dict[str, FloatArray]:
        hand, block = self._state[:2], self._state[2:]
        return {name: np.array([*at, 0, 1, 0, 0, 0], np.float32) for name, at in (("eef", hand), ("block", block))}

    def close(self) -> None:
        """Nothing is held."""

    def _begin(self, generator: np.random.Generator) -> Frames:
        far = np.zeros(4)
        while np.abs(far[:2] - far[2:]).max() < 0.3:
            far = generator.uniform(0.1, 0.9, 4)
        return self.restore(far)


def tasks(config: ReachConfig) -> list[TaskId]:
    return [TaskId(config.suite, 0, "bring the hand to the block")]


def demonstrate(env: Any, seed: int, expert: ExpertConfig) -> Episode:
    """Straight to the block under the recipe's noise; a faulty demonstrator (fault_rate 1) stops half-way."""
    generator = np.random.default_rng([seed, 3])
    faulty = generator.random() < expert.fault_rate
    noise = Noise(expert.noise, generator)
    recorder, clean = Recorder(env, env.reset(seed)), []
    limit = min(expert.max_steps, 24)
    while len(recorder.actions) < limit:
        hand, block = np.split(env.sim_state(), 2)
        wanted = np.zeros(7, dtype=np.float32)
        wanted[6] = -1
        if not faulty or len(recorder.actions) < 4:
            wanted[:2] = np.clip((block - hand) / SPEED, -1, 1)
        clean.append(wanted)
        recorder.step(noise(wanted))
        if any(recorder.success) and len(recorder.actions) % CHUNK == 0:
            break
    source = "expert_fault" if faulty else "expert"
    return Episode(f"{env.task}-{source}-{seed}", env.task, seed, source, clean_actions=np.stack(clean),
                   **recorder.fields())  # fmt: skip


ENVIRONMENT = EnvironmentPlugin(ReachConfig, build=ReachEnv, tasks=tasks, demonstrate=demonstrate, evaluation_states=20)
