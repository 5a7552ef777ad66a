"""Keeps all that an environment shows while something acts in it: the arrays of an Episode."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.envs.base import StepResult, StreamingEnv
from wovr_core.types import ACTION_DIM, FloatArray, Frames, StateArray


class Recorder:
    """Begin one at the first frame, then step through it.

    Args:
        env: stands at `frame`.
        success: whether the task counts as solved there.
    """

    def __init__(self, env: StreamingEnv, frame: Frames, success: bool = False) -> None:
        self._env = env
        self.frames: list[Frames] = []
        self.actions: list[FloatArray] = []
        self.success: list[bool] = []
        self._states: list[StateArray] = []
        self._streams: dict[str, list[npt.NDArray[Any]]] = {}
        self._see(frame, success)

    def step(self, action: FloatArray) -> StepResult:
        """Execute one raw action (7,) and record what it leads to."""
        result = self._env.step(action)
        self.actions.append(np.asarray(action, dtype=np.float32))
        self._see(result.frame, result.success)
        return result

    def fields(self) -> dict[str, Any]:
        """Fields of an Episode: frames, actions, success, sim_states, streams."""
        return {
            "frames": np.stack(self.frames),
            "actions": np.array(self.actions, dtype=np.float32).reshape(-1, ACTION_DIM),
            "success": np.array(self.success, dtype=np.bool_),
            "sim_states": np.stack(self._states),
            "streams": {name: np.stack(pictures) for name, pictures in self._streams.items()},
        }

    def info(self) -> dict[str, str]:
        """What an Episode's `info` says of these arrays."""
        if "segmentation" not in self._streams:
            return {}
        return {"segmentation_names": json.dumps(self._env.segmentation_names)}

    def _see(self, frame: Frames, success: bool) -> None:
        self.frames.append(frame)
        self.success.append(bool(success))
        self._states.append(self._env.sim_state())
        if self._env.config.streams:
            for name, picture in self._env.streams().items():
                self._streams.setdefault(name, []).append(picture)
