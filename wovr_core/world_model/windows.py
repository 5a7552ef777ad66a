"""Training windows cut from cached latents: the episodes are encoded once, then every batch is a gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wovr_core.data.segments import producing_actions, window_indices
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, FloatArray, Frames, IntArray
from wovr_core.world_model.autoencoder import TinyFrameCodec
from wovr_core.world_model.precision import autocast


class LatentWindows:
    """All windows of a set of encoded episodes, drawn with given weights.

    Args:
        codec: encodes each frame once, as float16 (it must be trained, and in eval mode).
        frames: per episode (T+1, H, W, 3) u8.
        actions: per episode (T, A) f32.
        weights: how often each episode's windows are drawn; 1 by default. Corrections are drawn more often: an array
            (T+1,) says it for each window, by its newest context frame.
        ends: per episode, frames from this index on are not trusted and never a target; T+1 by default.
    """

    def __init__(
        self,
        codec: TinyFrameCodec,
        frames: Sequence[Frames],
        actions: Sequence[FloatArray],
        weights: Sequence[float | FloatArray] | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        if not frames or len(frames) != len(actions):
            raise WovrError(f"need as many action arrays as episodes, at least one: {len(frames)}, {len(actions)}")
        codec.eval()
        self._codec = codec
        latents, produced, starts, chances = [], [], [], []
        offset = 0
        for i, (f, a) in enumerate(zip(frames, actions, strict=True)):
            if len(f) != len(a) + 1:
                raise WovrError(f"episode {i} has {len(f)} frames and {len(a)} actions; expected one frame more")
            with autocast():
                latents.append(codec.encode_frames(torch.from_numpy(np.ascontiguousarray(f))).half())
            produced.append(torch.from_numpy(producing_actions(a)))
            last = min(len(f), ends[i] if ends else len(f)) - 1 - CHUNK
            steps = np.arange(max(last + 1, 0))
            starts.append(np.stack([np.full_like(steps, offset), steps], axis=1))
            chance = weights[i] if weights else 1.0
            chances.append(chance[steps] if isinstance(chance, np.ndarray) else np.full(len(steps), chance))
            offset += len(f)
        self.latents = torch.cat(latents)
        """(all frames, c, h, w) float16"""
        self.actions = torch.cat(produced)
        """(all frames, A): row t produced frame t."""
        self.starts = np.concatenate(starts)
        """(windows, 2): the episode's first row, and the newest context frame's step."""
        drawn = np.concatenate(chances)
        if not len(drawn) or drawn.sum() <= 0:
            raise WovrError(f"no episode is long enough for a window of {CHUNK} future frames")
        self._chances = torch.from_numpy(drawn)

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, index: Sequence[int] | IntArray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows by number: latents (B, 4, Dc, h, w) float32, actions (B, 13, A)."""
        chosen = self.starts[np.asarray(index)]
        local = window_indices(chosen[:, 1])
        rows = torch.from_numpy(local + chosen[:, :1])
        actions = self.actions[rows]
        return self._codec.group(self.latents[rows].float()), actions

    def sample(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A random batch, as `gather` gives it."""
        return self.gather(torch.multinomial(self._chances, batch, replacement=True, generator=generator))
