"""The baseline that every world model has to beat: whatever is done, the picture stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from wovr_core.types import CHUNK, Episode
from wovr_core.world_model.world_models import WorldModelPlugin


@dataclass(frozen=True)
class StillConfig:
    """Set these with `--set world_model.model.image_size=48`."""

    kind: Literal["still"] = "still"
    image_size: int = 32


class Pixels(nn.Module):
    """A codec that leaves frames as they are: its latents are (B, frames, H, W, 3)."""

    per_frame = True

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float()

    def decode(self, latents: torch.Tensor, last: int) -> torch.Tensor:
        return latents[:, -last:].round().clamp(0, 255).to(torch.uint8)

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float()

    def decode_frames(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.to(torch.uint8)


class StillWorldModel(nn.Module):
    """See `wovr_core.world_model.model.WorldModel`, whose methods these are."""

    def __init__(self, config: StillConfig) -> None:
        super().__init__()
        self.config = config
        self.codec = Pixels()
        self.register_buffer("brightness", torch.zeros(1))
        self.device = torch.device("cpu")

    def imagine_chunk(
        self, context: torch.Tensor, actions: torch.Tensor, solver_steps: int, generator: Any, noise: Any = None
    ) -> torch.Tensor:
        """context (B, 5, H, W, 3) -> the 8 frames that follow (B, 8, H, W, 3)."""
        return context[:, -1:].expand(-1, CHUNK, -1, -1, -1)

    def next_context(self, context: torch.Tensor, future: torch.Tensor, seen: torch.Tensor, *_: Any) -> torch.Tensor:
        """seen (B, 5, H, W, 3): the first frame and the 4 newest."""
        return self.codec.encode(seen)


def train(
    model: StillWorldModel, episodes: Sequence[Episode], seed: int, log: Callable[[int, dict[str, float]], None]
) -> None:
    """There is nothing to learn; a real one would, and would log its loss as it goes."""
    model.brightness.fill_(float(sum(e.frames.mean() for e in episodes) / len(episodes)))
    log(1, {"brightness": float(model.brightness)})


WORLD_MODEL = WorldModelPlugin(StillConfig, build=StillWorldModel, train=train)
