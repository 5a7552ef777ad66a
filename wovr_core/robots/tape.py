"""Keeps all that a trial on a robot shows: the arrays of an Episode."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.robots.base import CameraFrame, RobotState
from wovr_core.types import ACTION_DIM, Episode, FloatArray, Frames, IntArray, StateArray, TaskId

LATE = "late"
_STATE = ("q", "dq", "tau_J", "tau_ext", "tcp_pose", "tcp_twist", "wrench_ext")


class Tape:
    """Frames and what led from one to the next, in the order in which they happened."""

    def __init__(self) -> None:
        self.frames: list[Frames] = []
        self.clipped: list[tuple[int, list[str]]] = []
        """(step, limits) of each command that was changed or refused."""
        self.late = 0
        self.held = 0
        self.last_was_hold = False
        self._actions: list[FloatArray] = []
        self._sent: list[float] = []
        self._holds: list[int] = []
        self._success: list[bool] = []
        self._worlds: list[StateArray] = []
        self._states: dict[str, list[npt.NDArray[Any]]] = {}
        self._tokens: list[IntArray] = []
        self._log_probs: list[FloatArray] = []

    def see(
        self, frame: Frames, seen: CameraFrame, state: RobotState, success: bool, sim_state: StateArray | None
    ) -> None:
        """The next frame, and the robot's state at it."""
        self.frames.append(frame)
        self._success.append(success)
        if sim_state is not None:
            self._worlds.append(sim_state)
        row: dict[str, Any] = {name: getattr(state, name) for name in _STATE}
        row |= {
            "gripper": [state.gripper_width, float(state.is_grasped)],
            "time": [state.t_robot, state.t_host, seen.t_device, seen.t_host, float(seen.frame_no)],
        }
        for name, value in row.items():
            self._states.setdefault(name, []).append(np.asarray(value, dtype=np.float64))

    def decide(self, tokens: IntArray | None, log_probs: FloatArray | None) -> None:
        """A chunk was decided."""
        if tokens is not None and log_probs is not None:
            self._tokens.append(np.asarray(tokens, dtype=np.int64))
            self._log_probs.append(np.asarray(log_probs, dtype=np.float32))

    def act(self, action: FloatArray, t_sent: float, clipped_by: tuple[str, ...]) -> None:
        """An action (7,) was sent, and this is what of it was really sent."""
        if clipped_by:
            self.clipped.append((len(self._actions), list(clipped_by)))
        self._append(action, t_sent, held=False)

    def hold(self, still: FloatArray, t_sent: float, *reasons: str) -> None:
        """The arm was told to stay."""
        self.clipped.append((len(self._actions), list(reasons)))
        self.late += LATE in reasons
        self.held += LATE not in reasons
        self._append(still, t_sent, held=True)

    def clip_counts(self) -> dict[str, int]:
        """Limit -> commands that it changed or refused."""
        return dict(sorted(Counter(reason for _, reasons in self.clipped for reason in reasons).items()))

    def episode(self, name: str, task: TaskId, seed: int, source: str, info: dict[str, str]) -> Episode:
        """All of it. An action whose frame was never seen (a fault in between) is left out."""
        steps = len(self.frames) - 1
        streams = {f"robot.{key}": np.stack(values) for key, values in self._states.items()}
        # One row per frame, as all streams: the command that followed it; the last frame has none.
        streams["robot.sent"] = np.array([*self._sent[:steps], np.nan])[:, None]
        streams["robot.hold"] = np.array([*self._holds[:steps], 0], dtype=np.uint8)[:, None]
        chunks = self._whole_chunks(steps)
        return Episode(
            id=name,
            task=task,
            seed=seed,
            source=source,
            frames=np.stack(self.frames),
            actions=np.array(self._actions[:steps], dtype=np.float32).reshape(-1, ACTION_DIM),
            success=np.array(self._success, dtype=np.bool_),
            sim_states=np.stack(self._worlds) if self._worlds else None,
            action_tokens=np.stack(self._tokens) if chunks else None,
            log_probs=np.stack(self._log_probs) if chunks else None,
            info=info,
            streams=streams,
        )

    def _whole_chunks(self, steps: int) -> bool:
        """Tokens belong to steps only where every chunk was sent whole, unchanged and without a pause."""
        return bool(self._tokens) and not self.clipped and steps == sum(len(t) for t in self._tokens)

    def _append(self, action: FloatArray, t_sent: float, held: bool) -> None:
        self._actions.append(action)
        self._sent.append(t_sent)
        self._holds.append(int(held))
        self.last_was_hold = held
