"""Where things are in a frame: a small network, trained on real frames, that reads positions off pictures.

Applied to imagined frames and compared with the simulator, it gives the object-state error: not how the picture looks,
but whether gripper and object are where they really would be.

Shapes: N frames, H = W frame size, P things, K keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.seeding import global_draws
from wovr_core.types import FloatArray, Frames

THINGS = ("gripper", "object")
"""What is located: the point between the fingertips, and the object that the task is about."""


@dataclass(frozen=True)
class ProbeConfig:
    image_size: int = 64
    width: int = 48
    keypoints: int = 32
    hidden: int = 256
    tasks: int = 10
    """Largest number of tasks in a suite; the task is given, since it says which object is meant."""


class PositionProbe(nn.Module):
    """Frames and task -> positions. Build it with `build`, which seeds the weights."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.trunk = nn.Sequential(
            nn.Conv2d(3, w, 5, 2, 2), nn.GroupNorm(8, w), nn.SiLU(),
            nn.Conv2d(w, w, 3, 1, 1), nn.GroupNorm(8, w), nn.SiLU(),
            nn.Conv2d(w, w, 3, 1, 1), nn.GroupNorm(8, w), nn.SiLU(),
        )  # fmt: skip
        self.task = nn.Embedding(config.tasks, 2 * w)
        self.maps = nn.Conv2d(w, config.keypoints, 1)
        self.head = nn.Sequential(
            nn.Linear(2 * config.keypoints + 2 * w, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 3 * len(THINGS))
        )
        self.register_buffer("mean", torch.zeros(3 * len(THINGS)))
        self.register_buffer("deviation", torch.ones(3 * len(THINGS)))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor

    def fit_scale(self, positions: torch.Tensor) -> None:
        """Set mean and deviation of the targets (N, P, 3), in m."""
        flat = positions.flatten(1)
        self.mean.copy_(flat.mean(dim=0))
        self.deviation.copy_(flat.std(dim=0).clamp(min=1e-3))

    def forward(self, frames: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
        """frames u8 (N, H, W, 3), tasks (N,) -> standardised positions (N, 3 P)."""
        pixels = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        embedding = self.task(tasks)
        scale, shift = embedding[..., None, None].chunk(2, dim=1)
        features = self.trunk(pixels) * (1 + scale) + shift
        heat = self.maps(features).flatten(2).softmax(dim=-1).unflatten(2, features.shape[2:])  # (N, K, h, w)
        line = torch.linspace(-1, 1, heat.shape[-1])
        x, y = (heat.sum(dim=2) * line).sum(-1), (heat.sum(dim=3) * line).sum(-1)
        output: torch.Tensor = self.head(torch.cat([x, y, embedding], dim=1))
        return output

    def loss(
        self, frames: torch.Tensor, tasks: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Huber loss of standardised positions; positions (N, P, 3) in m."""
        wanted = (positions.flatten(1) - self.mean) / self.deviation
        loss = F.smooth_l1_loss(self(frames, tasks), wanted, beta=0.2)
        return loss, {"probe/loss": float(loss.detach())}

    @torch.no_grad()
    def locate(self, frames: Frames, task: int, batch: int = 256) -> FloatArray:
        """(N, P, 3) positions in m."""
        parts = []
        for part in torch.from_numpy(frames.copy()).split(batch):
            standardised = self(part, torch.full((len(part),), task))
            parts.append(standardised * self.deviation + self.mean)
        return torch.cat(parts).view(-1, len(THINGS), 3).numpy()


def build(config: ProbeConfig, seed: int) -> PositionProbe:
    """A probe with weights drawn from `seed`; the global generator is left as it was."""
    with global_draws(seed):
        return PositionProbe(config)
