"""Training windows cut from cached latents: the episodes are encoded once, then every batch is a gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from wovr_core.data.segments import gripper_changes, producing_actions, window_indices
from wovr_core.errors import WovrError
from wovr_core.precision import autocast
from wovr_core.types import CHUNK, FloatArray, Frames, IntArray
from wovr_core.world_model.autoencoder import TinyFrameCodec, VideoCodec

CONTACT_LEAD, CONTACT_TAIL = 16, 12
"""Actions before and after a change of the gripper's command within which it is decided what is grasped: the descent,
the closing itself (about 8 actions) and the first of the lift."""


def contact_weights(actions: FloatArray, weight: float) -> FloatArray:
    """(T, A) -> (T+1,), as `Windows` takes them: `weight` where the newest context frame lies around a change of the
    gripper's command, 1 elsewhere."""
    chances = np.ones(len(actions) + 1, dtype=np.float32)
    for change in gripper_changes(actions):
        chances[max(0, change - CONTACT_LEAD) : change + CONTACT_TAIL + 1] = weight
    return chances


class Windows:
    """All windows of a set of episodes, drawn with given weights; what a window holds is the subclass's.

    Args:
        frames: per episode (T+1, H, W, 3) u8.
        actions: per episode (T, A) f32.
        weights: how often each episode's windows are drawn; 1 by default. Corrections are drawn more often: an array
            (T+1,) says it for each window, by its newest context frame.
        ends: per episode, frames from this index on are not trusted and never a target; T+1 by default.
    """

    def __init__(
        self,
        frames: Sequence[Frames],
        actions: Sequence[FloatArray],
        weights: Sequence[float | FloatArray] | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        if not frames or len(frames) != len(actions):
            raise WovrError(f"need as many action arrays as episodes, at least one: {len(frames)}, {len(actions)}")
        produced, starts, chances = [], [], []
        offset = 0
        for i, (f, a) in enumerate(zip(frames, actions, strict=True)):
            if len(f) != len(a) + 1:
                raise WovrError(f"episode {i} has {len(f)} frames and {len(a)} actions; expected one frame more")
            produced.append(torch.from_numpy(producing_actions(a)))
            last = min(len(f), ends[i] if ends else len(f)) - 1 - CHUNK
            steps = np.arange(max(last + 1, 0))
            starts.append(np.stack([np.full_like(steps, offset), steps], axis=1))
            chance = weights[i] if weights else 1.0
            chances.append(chance[steps] if isinstance(chance, np.ndarray) else np.full(len(steps), chance))
            offset += len(f)
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

    def rows(self, index: Sequence[int] | IntArray | torch.Tensor) -> torch.Tensor:
        """Which rows of all frames the windows hold: (B, 13)."""
        chosen = self.starts[np.asarray(index)]
        return torch.from_numpy(window_indices(chosen[:, 1]) + chosen[:, :1])

    def gather(self, index: Sequence[int] | IntArray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows by number: what `WorldModel.loss` takes, latents or frames, and actions (B, 13, A)."""
        raise NotImplementedError

    def sample(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A random batch, as `gather` gives it."""
        return self.gather(torch.multinomial(self._chances, batch, replacement=True, generator=generator))


class LatentWindows(Windows):
    """Windows of a per-frame codec's latents: each frame is encoded once, as float16.

    Args:
        codec: trained, and put into eval mode; the other arguments are those of `Windows`.
    """

    def __init__(
        self,
        codec: TinyFrameCodec,
        frames: Sequence[Frames],
        actions: Sequence[FloatArray],
        weights: Sequence[float | FloatArray] | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        super().__init__(frames, actions, weights, ends)
        codec.eval()
        self._codec = codec
        latents = []
        for f in frames:
            with autocast(codec.mean_frame.device):
                latents.append(codec.encode_frames(torch.from_numpy(np.ascontiguousarray(f))).half().cpu())
        self.latents = torch.cat(latents)
        """(all frames, c, h, w) float16"""

    def gather(self, index: Sequence[int] | IntArray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows by number: latents (B, 4, Dc, h, w) float32, actions (B, 13, A)."""
        rows = self.rows(index)
        return self._codec.group(self.latents[rows].float()), self.actions[rows]


class FrameWindows(Windows):
    """Windows of u8 frames, for a codec whose latents depend on the whole window: the model encodes them as it trains.
    The episodes stay where they are (files are read as they are needed if the arrays are lazy)."""

    def __init__(
        self,
        frames: Sequence[Frames],
        actions: Sequence[FloatArray],
        weights: Sequence[float | FloatArray] | None = None,
        ends: Sequence[int] | None = None,
    ) -> None:
        super().__init__(frames, actions, weights, ends)
        self._frames = list(frames)
        self._first = np.cumsum([0, *(len(f) for f in frames)])

    def gather(self, index: Sequence[int] | IntArray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows by number: frames u8 (B, 13, H, W, 3), actions (B, 13, A)."""
        rows = self.rows(index)
        clips = []
        for row in rows.numpy():
            episode = int(np.searchsorted(self._first, row[0], side="right")) - 1
            clips.append(self._frames[episode][row - self._first[episode]])
        return torch.from_numpy(np.stack(clips)), self.actions[rows]


def windows_for(
    codec: VideoCodec,
    frames: Sequence[Frames],
    actions: Sequence[FloatArray],
    weights: Sequence[float | FloatArray] | None = None,
    ends: Sequence[int] | None = None,
) -> Windows:
    """The windows that suit the codec; arguments as `Windows` takes them."""
    if isinstance(codec, TinyFrameCodec):
        return LatentWindows(codec, frames, actions, weights, ends)
    return FrameWindows(frames, actions, weights, ends)
