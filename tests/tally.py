"""An imagined environment that is arithmetic, for tests of what is imagined again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from wovr_core.types import CHUNK, Keyframe


class Tally:
    """Frames and p_success are the running sum of the first action, plus noise of the row's seed."""

    def __init__(self, most: int = 40) -> None:
        self.config = SimpleNamespace(success_threshold=0.5, max_chunks=most)

    def reset(self, keyframes: list[Keyframe], seeds: list[int]) -> Any:
        assert len(keyframes) == len(seeds) == 1
        self.total = torch.zeros(())
        self.noise = torch.Generator().manual_seed(seeds[0])
        frames = torch.from_numpy(keyframes[0].context_frames[-1:])
        previous = torch.from_numpy(keyframes[0].context_actions[-1:].astype(np.float32))
        return SimpleNamespace(frames=frames, p_success=torch.zeros(1), previous_actions=previous)

    def step(self, actions: torch.Tensor) -> Any:
        assert actions.shape == (1, CHUNK, 7)
        totals = self.total + actions[0, :, 0].cumsum(0)
        self.total = totals[-1]
        jitter = torch.randint(0, 5, (CHUNK, 1, 1, 1), generator=self.noise)
        level = (100 + 10 * totals)[:, None, None, None].round() + jitter
        frames = level.expand(CHUNK, 8, 8, 3).clamp(0, 255).to(torch.uint8)
        return SimpleNamespace(frames=frames[None], p_success=(totals / 10).clamp(0, 1)[None])
