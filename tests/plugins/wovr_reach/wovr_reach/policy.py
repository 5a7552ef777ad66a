"""A policy of another shape than TinyVLA: a perceptron on patch means. It has bins, so its odds are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from wovr_core.policy.action_bins import ActionBins
from wovr_core.policy.base import ActionChunk, PolicyPlugin
from wovr_core.policy.sft import SFTBatch, SFTLossConfig
from wovr_core.types import ACTION_DIM, CHUNK


@dataclass(frozen=True)
class PatchesConfig:
    """Set these with `--set sft.policy.hidden=128`."""

    kind: Literal["patches"] = "patches"
    patches: int = 8
    """The picture is averaged over so many patches a side."""
    hidden: int = 64
    bins: int = 11


class PatchesPolicy(nn.Module):
    """See `wovr_core.policy.base.Policy`. The instruction is not read: there is one task."""

    def __init__(self, config: PatchesConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 3 * config.patches**2 + ACTION_DIM
        outputs = CHUNK * ACTION_DIM * config.bins
        self.net = nn.Sequential(nn.Linear(inputs, config.hidden), nn.ReLU(), nn.Linear(config.hidden, outputs))
        self.action_bins = ActionBins(config.bins, ACTION_DIM)

    def logits(self, frames: torch.Tensor, previous_actions: torch.Tensor) -> torch.Tensor:
        """frames (B, H, W, 3), previous_actions (B, A) -> (B, C, A, bins)."""
        pictures = frames.permute(0, 3, 1, 2).float() / 255 - 0.5
        patches = nn.functional.adaptive_avg_pool2d(pictures, self.config.patches).flatten(1)
        features = torch.cat([patches, previous_actions.float()], dim=1)
        return self.net(features).view(-1, CHUNK, ACTION_DIM, self.config.bins)

    @torch.no_grad()
    def act(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> ActionChunk:
        logits = self.logits(frames, previous_actions)
        odds = (logits / (temperature or 1.0)).log_softmax(-1)
        tokens = logits.argmax(-1)
        if temperature:
            drawn = torch.multinomial(odds.exp().flatten(0, -2), 1, generator=generator)
            tokens = drawn.view(tokens.shape)
        return ActionChunk(self.action_bins.decode(tokens), tokens, odds.gather(-1, tokens[..., None])[..., 0])

    def log_prob(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        tokens: torch.Tensor,
        *,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        odds = (self.logits(frames, previous_actions) / temperature).log_softmax(-1)
        return odds.gather(-1, tokens[..., None])[..., 0]


def build(config: PatchesConfig, seed: int) -> PatchesPolicy:
    with torch.random.fork_rng(devices=[]):  # the weights come from the seed; nobody else's draws are disturbed
        torch.manual_seed(seed)
        return PatchesPolicy(config)


def imitation_loss(
    policy: PatchesPolicy, batch: SFTBatch, generator: torch.Generator, config: SFTLossConfig, *, autocast: bool
) -> tuple[torch.Tensor, dict[str, float]]:
    tokens = policy.action_bins.encode(batch.actions)
    per_token = nn.functional.cross_entropy(
        policy.logits(batch.frames, batch.previous_actions).permute(0, 3, 1, 2), tokens, reduction="none"
    )  # (B, C, A)
    loss = per_token[batch.mask_padding].mean()
    return loss, {"loss": float(loss.detach())}


POLICY = PolicyPlugin(
    PatchesConfig,
    build=build,
    imitation_loss=imitation_loss,
    fit=lambda policy, actions: policy.action_bins.fit(actions),
)
