"""What flows between the stages: small frozen records of numpy arrays, shapes beside each field.

Legend of shapes, used all over the core:
    T actions of an episode, H = W frame size, A = 7 action dimensions, C = 8 actions of a chunk,
    K chunks of a rollout, F = 1 reference + 4 recent context frames, G rollouts of a group,
    S simulator state.

Actions are raw environment actions: dx dy dz, drx dry drz in the controller's units in [-1, 1], and the
gripper (-1 open, +1 close), at 20 Hz. Frames are RGB in RLinf's convention: the raw (upside-down) render
turned by 180 degrees, so that left and right are swapped against what a person at the camera sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
StateArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

ACTION_DIM = 7
CHUNK = 8
RECENT_FRAMES = 4
CONTEXT_FRAMES = 1 + RECENT_FRAMES
FPS = 20
PICTURE_CONVENTION = "rotated_180"

NULL_ACTION: FloatArray = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float32)
"""Stands for "no action yet": no motion, gripper open. It is what precedes the first frame."""


@dataclass(frozen=True)
class TaskId:
    """One task of a suite: the suite's name, LIBERO's index in it, and the instruction the policy reads."""

    suite: str
    task: int
    instruction: str

    def __str__(self) -> str:
        return f"{self.suite}/{self.task}"


@dataclass(frozen=True)
class Start:
    """Where a rollout, or a replay, begins: step `step` of the episode `episode_id`."""

    episode_id: str
    step: int


@dataclass(frozen=True)
class Episode:
    """An executed episode: what happened in the simulator (or on a robot), and what replays it exactly."""

    id: str
    task: TaskId
    seed: int
    source: str
    """Who acted: "expert", "expert_fault" or a policy checkpoint's version."""
    frames: Frames
    """(T+1, H, W, 3)"""
    actions: FloatArray
    """(T, A), as executed; actions[t] leads from frames[t] to frames[t+1]."""
    success: BoolArray
    """(T+1,), the simulator's predicate at each frame."""
    sim_states: StateArray | None = None
    """(T+1, S), all that exact replay needs (see envs.libero)."""
    clean_actions: FloatArray | None = None
    """(T, A), the demonstrator's intention before noise: the label of imitation."""
    action_tokens: IntArray | None = None
    """(K, C, A), what a policy sampled."""
    log_probs: FloatArray | None = None
    """(K, C, A), the behaviour policy's log-probabilities of those tokens."""
    info: dict[str, str] = field(default_factory=dict)
    """Further metadata: renderer, view, reset kind."""
    streams: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """What was recorded beside the frames, each (T+1, H, W, ...): "wrist" u8 RGB, "depth" f32 in metres,
    "segmentation" u8 numbers whose names `info["segmentation_names"]` lists (JSON). Read from a file, an
    entry is decoded each time it is asked for, and not before."""

    @property
    def length(self) -> int:
        return len(self.actions)

    @property
    def succeeded(self) -> bool:
        return bool(self.success.any())

    @property
    def first_success(self) -> int | None:
        """Index of the first successful frame, or None."""
        return int(self.success.argmax()) if self.success.any() else None


@dataclass(frozen=True)
class Keyframe:
    """A start of imagined rollouts: what the world model must see, and what replays it for real.

    Row 0 of the context is the episode's first frame (the reference), rows 1-4 are the most recent frames,
    oldest first; near the beginning the first frame is repeated. A context action is the one that *produced*
    its frame; frames that no action produced carry NULL_ACTION.
    """

    task: TaskId
    start: Start
    reason: str
    """Why it was chosen: "initial", "contact", "release", "divergence", "before_failure"."""
    context_frames: Frames
    """(F, H, W, 3)"""
    context_actions: FloatArray
    """(F, A)"""
    sim_state: StateArray | None = None
    """(S,), at the last context frame; None where there was no simulator (a real arm, imported data): imagination
    needs none, the audit does."""


@dataclass(frozen=True)
class Rollout:
    """One imagined rollout of K chunks."""

    id: str
    task: TaskId
    start: Start
    group_id: str
    sampler_seed: int
    context_frames: Frames
    """(F, H, W, 3)"""
    context_actions: FloatArray
    """(F, A)"""
    sim_state: StateArray | None
    """(S,), where a real replay begins; None: see `Keyframe.sim_state`."""
    frames: Frames
    """(K*C+1, H, W, 3); frames[0] is the last context frame."""
    actions: FloatArray
    """(K*C, A), what the policy decided."""
    action_tokens: IntArray
    """(K, C, A)"""
    log_probs: FloatArray
    """(K, C, A), under the behaviour policy."""
    p_success: FloatArray
    """(K*C+1,), the reward classifier's probability for each frame."""
    loss_mask: BoolArray
    """(K, C), true up to and including the first imagined success."""
    reward: float
    """Discounted return."""
    versions: dict[str, str] = field(default_factory=dict)
    """Which policy, world_model and reward made it."""
    info: dict[str, str] = field(default_factory=dict)
    p_outcome: FloatArray | None = None
    """(K+1,), at the start and after each chunk: the probability of success in the end, where the classifier says it.
    Shorter where the later chunks are not believed."""

    @property
    def imagined_success(self) -> bool:
        """Whether a success was imagined: the mask ends early, or the last frame carries the reward."""
        return self.reward > 0


@dataclass(frozen=True)
class RolloutGroup:
    """G siblings imagined from one keyframe: the unit over which GRPO compares returns."""

    id: str
    rollouts: tuple[Rollout, ...]

    @property
    def rewards(self) -> FloatArray:
        """(G,)"""
        return np.array([r.reward for r in self.rollouts], dtype=np.float32)


@dataclass(frozen=True)
class AuditedRollout:
    """One imagined rollout beside what really happens under its actions."""

    rollout_id: str
    task: TaskId
    depth: int
    """Imagined actions up to and including the first imagined success, or all of them."""
    imagined_success: bool
    real_success: bool
    divergence: FloatArray
    """(K*C+1,), mean absolute pixel difference of imagined and real frame, in [0, 255]."""
    real_episode_id: str
