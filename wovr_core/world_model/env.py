"""The imagined environment: the policy acts, the world model draws what happens, the reward model judges each frame.

It is handed its model, its reward function and its start states, and holds nothing else. Rollouts of a batch are
independent: each draws its noise from a generator of its own seed.

Shapes: B rollouts, C = 8 actions of a chunk, F = 5 context frames, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.precision import autocast
from wovr_core.types import ACTION_DIM, CHUNK, CONTEXT_FRAMES, NULL_ACTION, RECENT_FRAMES, Keyframe
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.rlinf import published_noise

RewardFunction = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]
"""(frames u8 (N, H, W, 3), N instructions) -> calibrated probability of success (N,) float32."""


@dataclass(frozen=True)
class ImaginationConfig:
    """How to imagine."""

    solver_steps: int = 2
    max_chunks: int = 20
    """Then a rollout is truncated."""
    success_threshold: float = 0.5
    """A frame succeeds when p_success reaches it; choose it with `reward.calibration`."""
    reencode: bool = False
    """Pass the imagined frames through decoder and encoder before they become context. A codec whose latents depend on
    earlier frames (Wan's) always does."""
    every_frame: bool = True
    """Draw and judge every frame. Otherwise only the last of each chunk, which is all that the policy sees; the one
    before it stands in until then. Nearly halves the time; a codec whose latents depend on earlier frames draws all."""
    published_noise: bool = False
    """Every chunk begins with the noise of RLinf's published inference (`rlinf.published_noise`), not the seeds'."""


@dataclass(frozen=True)
class ImaginedStart:
    """What the policy sees before its first chunk."""

    frames: torch.Tensor
    """(B, H, W, 3) u8, the keyframes' newest frames."""
    p_success: torch.Tensor
    """(B,)"""
    previous_actions: torch.Tensor
    """(B, A), what produced them."""
    p_outcome: torch.Tensor | None = None
    """(B,), as in ImaginedStep."""


@dataclass(frozen=True)
class ImaginedStep:
    """One chunk of C imagined frames for each rollout."""

    frames: torch.Tensor
    """(B, C, H, W, 3) u8"""
    p_success: torch.Tensor
    """(B, C) float32"""
    success: torch.Tensor
    """(B, C) bool: p_success reaches the threshold at this frame."""
    terminated: torch.Tensor
    """(B,) bool: a frame so far has succeeded (it stays true)."""
    truncated: torch.Tensor
    """(B,) bool: not terminated, and max_chunks are imagined."""
    p_outcome: torch.Tensor | None = None
    """(B,), of the newest frame: the probability of success in the end; None where nothing predicts it."""


class WorldModelEnv:
    """Batched imagined rollouts from keyframes.

    Args:
        model: in eval mode; its weights are used as they are.
        reward: judges frames.
        config: see `ImaginationConfig`.
        outcome: predicts from a chunk's newest frame whether success will follow; of the reward function's form.
    """

    def __init__(
        self,
        model: WorldModel,
        reward: RewardFunction,
        config: ImaginationConfig,
        outcome: RewardFunction | None = None,
    ) -> None:
        if not 0 < config.success_threshold < 1:
            raise WovrError(f"success_threshold must lie between 0 and 1, got {config.success_threshold}")
        if config.max_chunks < 1 or config.solver_steps < 1:
            raise WovrError("max_chunks and solver_steps must be at least 1")
        self.model = model.eval()
        self.reward = reward
        self.outcome = outcome
        self.config = config
        self._context: torch.Tensor | None = None

    @torch.no_grad()
    def reset(self, keyframes: Sequence[Keyframe], sampler_seeds: Sequence[int]) -> ImaginedStart:
        """Begin one rollout at each keyframe (repeat a keyframe for the siblings of a group).

        Args:
            keyframes: B starts, of any tasks.
            sampler_seeds: B seeds of the rollouts' noise.

        Raises:
            WovrError: no keyframe, not one seed for each, or a context of the wrong shape.
        """
        if not keyframes or len(keyframes) != len(sampler_seeds):
            raise WovrError(f"need a seed per keyframe and at least one: {len(keyframes)}, {len(sampler_seeds)}")
        size = self.model.config.image_size
        for i, k in enumerate(keyframes):
            if k.context_frames.shape != (CONTEXT_FRAMES, size, size, 3):
                raise WovrError(
                    f"keyframe {i} ({k.start.episode_id} step {k.start.step}): context_frames must be "
                    f"({CONTEXT_FRAMES}, {size}, {size}, 3) for this world model, got {k.context_frames.shape}"
                )
            if k.context_actions.shape != (CONTEXT_FRAMES, ACTION_DIM):
                raise WovrError(
                    f"keyframe {i}: context_actions must be ({CONTEXT_FRAMES}, {ACTION_DIM}), "
                    f"got {k.context_actions.shape}"
                )
        frames = torch.from_numpy(np.stack([k.context_frames for k in keyframes]))
        actions = np.stack([k.context_actions for k in keyframes]).astype(np.float32)
        actions[:, 0] = NULL_ACTION  # the reference, as in training
        self._instructions = [k.task.instruction for k in keyframes]
        self._generators = [torch.Generator().manual_seed(int(s)) for s in sampler_seeds]
        self._actions = torch.from_numpy(actions)
        self._reference, self._newest = frames[:, :1], frames[:, -1:]
        with autocast(self.model.device):
            self._context = self.model.codec.encode(frames).float()  # (B, 2, Dc, h, w)
        self._terminated = torch.zeros(len(keyframes), dtype=torch.bool)
        self._chunks = 0
        newest = frames[:, -1]
        p_success = self._judge(newest, self._instructions)
        self._newest_p = p_success[:, None]
        return ImaginedStart(newest, p_success, self._actions[:, -1].clone(), self._predict(newest))

    @torch.no_grad()
    def step(self, actions: torch.Tensor) -> ImaginedStep:
        """Imagine one chunk. Terminated rollouts go on being imagined, so that the batch keeps its shape.

        Args:
            actions: (B, C, A) float32 raw environment actions.

        Raises:
            WovrError: before `reset`, after `max_chunks`, or on a wrong shape or a value that is not finite.
        """
        if self._context is None:
            raise WovrError("call reset before step")
        if self._chunks >= self.config.max_chunks:
            raise WovrError(f"all {self.config.max_chunks} chunks are imagined; call reset")
        batch = len(self._instructions)
        if tuple(actions.shape) != (batch, CHUNK, ACTION_DIM):
            raise WovrError(
                f"actions must be ({batch}, {CHUNK}, {ACTION_DIM}), one chunk per rollout; got {tuple(actions.shape)}"
            )
        if not torch.isfinite(actions).all():
            raise WovrError("actions hold a value that is not finite")
        window = torch.cat([self._actions, actions.float()], dim=1)
        noise = published_noise(self.model.config, batch) if self.config.published_noise else None
        future = self.model.imagine_chunk(self._context, window, self.config.solver_steps, self._generators, noise)
        drawn = CHUNK if self._draws_all else 1
        with autocast(self.model.device):
            frames = self.model.codec.decode(torch.cat([self._context, future], dim=1), last=drawn).cpu()
            seen = torch.cat([self._reference, frames[:, -RECENT_FRAMES:]], dim=1)
            self._context = self.model.next_context(self._context, future, seen, self.config.reencode)
        self._actions = torch.cat([self._actions[:, :1], window[:, -RECENT_FRAMES:]], dim=1)
        self._chunks += 1

        repeated = [text for text in self._instructions for _ in range(drawn)]
        p_success = self._judge(frames.flatten(0, 1), repeated).view(batch, drawn)
        frames, p_success = (
            torch.cat([before.repeat_interleave(CHUNK - drawn, dim=1), new], dim=1)
            for before, new in ((self._newest, frames), (self._newest_p, p_success))
        )
        self._newest, self._newest_p = frames[:, -1:], p_success[:, -1:]
        success = p_success >= self.config.success_threshold
        self._terminated = self._terminated | success.any(dim=1)
        ended = torch.full_like(self._terminated, self._chunks == self.config.max_chunks)
        return ImaginedStep(
            frames,
            p_success,
            success,
            self._terminated.clone(),
            ended & ~self._terminated,
            self._predict(frames[:, -1]),
        )

    @property
    def _draws_all(self) -> bool:
        return self.config.every_frame or self.config.reencode or not self.model.codec.per_frame

    def _predict(self, newest: torch.Tensor) -> torch.Tensor | None:
        return None if self.outcome is None else self._judge(newest, self._instructions, self.outcome)

    def _judge(
        self, frames: torch.Tensor, instructions: Sequence[str], by: RewardFunction | None = None
    ) -> torch.Tensor:
        p = torch.as_tensor((by or self.reward)(frames, instructions)).float()
        if tuple(p.shape) != (len(frames),):
            raise WovrError(f"the reward function must return ({len(frames)},) probabilities, got {tuple(p.shape)}")
        return p
