"""TinyVLA: one small vision-language-action policy for a suite, trainable on a CPU in minutes.

As OpenVLA-OFT (arXiv 2502.19645) does, it decodes a whole chunk of C x A discrete action tokens in parallel,
so that the tokens of a chunk are independent given the observation and their log-probabilities are exact.
The picture goes through a cheap convolutional trunk modulated by the instruction (FiLM, arXiv 1709.07871) and
is read out as keypoints (spatial softmax, Levine et al., arXiv 1504.00702): where things are is what an action
needs, and coordinates say so with few weights.

Shapes: B batch, H = W frame size, C chunk, A action dimensions, N bins, D instruction vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core import plugins
from wovr_core.config import Pluggable
from wovr_core.errors import WovrError
from wovr_core.instructions import INSTRUCTION_DIM, embed_tensor
from wovr_core.policy.action_bins import ActionBins
from wovr_core.policy.base import ActionChunk
from wovr_core.policy.sampling import log_prob_of, sample
from wovr_core.types import ACTION_DIM, CHUNK
from wovr_core.wording import counted


@dataclass(frozen=True)
class TinyVLAConfig(Pluggable):
    """Everything that fixes the network's shape. `dataclasses.asdict` and `TinyVLAConfig(**d)` round-trip it."""

    plugin_group: ClassVar[str] = plugins.POLICIES
    own_kind: ClassVar[str] = "tiny_vla"

    image_size: int = 64
    bins: int = 65
    """Odd, so that zero is a bin."""
    width: int = 64
    """Channels of the convolutional trunk; a multiple of 16."""
    blocks: int = 3
    """Instruction-modulated convolutions at a quarter of the frame's resolution."""
    keypoints: int = 48
    hidden: int = 512
    text: int = 64
    """Width to which the instruction's vector is reduced."""
    chunk: int = CHUNK
    action_dim: int = ACTION_DIM


class TinyVLA(nn.Module):
    """The policy. `forward` gives logits and auxiliary predictions; `act` and `log_prob` are the protocol."""

    def __init__(self, config: TinyVLAConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        w, k = config.width, config.keypoints
        with torch.device("meta"):  # no values yet: torch's own initialisation draws from the global generator
            self.text = nn.Sequential(nn.Linear(INSTRUCTION_DIM, config.text), nn.LayerNorm(config.text), nn.GELU())
            self.stem = nn.Sequential(
                nn.PixelUnshuffle(2), _conv(12, w // 2, 1), nn.GroupNorm(8, w // 2), nn.ReLU(), _conv(w // 2, w, 2)
            )
            self.blocks = nn.ModuleList(_FilmBlock(w, config.text) for _ in range(config.blocks))
            self.readout = nn.Conv2d(w, k, 1)
            self.sharpness = nn.Parameter(torch.empty(k))
            self.trunk = nn.Sequential(
                nn.Linear(4 * k + config.action_dim + config.text, config.hidden),
                nn.LayerNorm(config.hidden),
                nn.GELU(),
                nn.Linear(config.hidden, config.hidden),
                nn.GELU(),
            )
            self.head = nn.Linear(config.hidden, config.chunk * config.action_dim * config.bins)
        self.to_empty(device="cpu")
        self.action_bins = ActionBins(config.bins, config.action_dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from the generator; nothing else is disturbed. The bins are left alone."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                gain = math.sqrt(2.0) if isinstance(module, nn.Conv2d) else 1.0
                nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.ones_(self.sharpness)
        for block in self.blocks:
            assert isinstance(block, _FilmBlock)
            nn.init.zeros_(block.film.weight)  # starts as a plain convolution
        with torch.no_grad():
            self.head.weight.mul_(0.1)  # nearly even odds over the bins at first

    def forward(self, frames: torch.Tensor, text: torch.Tensor, previous_actions: torch.Tensor) -> torch.Tensor:
        """Logits of every token of the chunk.

        Args:
            frames: (B, H, W, 3) u8, or floats in [0, 255].
            text: (B, D) embedded instructions.
            previous_actions: (B, A) raw.

        Returns:
            (B, C, A, N) float32.
        """
        c = self.config
        if frames.shape[1:] != (c.image_size, c.image_size, 3):
            raise WovrError(
                f"TinyVLA was built for frames of (B, {c.image_size}, {c.image_size}, 3), got {tuple(frames.shape)}"
            )
        pictures = frames.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1).contiguous()  # (B, 3, H, W)
        words = self.text(text)  # (B, text)
        x = self.stem(pictures)  # (B, width, H/4, W/4)
        for block in self.blocks:
            x = block(x, words)
        points = self._keypoints(self.readout(x))  # (B, 4*keypoints)
        features = self.trunk(torch.cat([points, previous_actions.to(points.dtype), words.to(points.dtype)], dim=1))
        return self.head(features).float().view(-1, c.chunk, c.action_dim, c.bins)

    def _keypoints(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, keypoints, h, w) activation maps -> (B, 4*keypoints): expected x and y, spread, strength."""
        maps = maps.float()
        h, w = maps.shape[-2:]
        ys = torch.linspace(-1, 1, h).to(maps)
        xs = torch.linspace(-1, 1, w).to(maps)
        weights = (maps * self.sharpness[:, None, None]).flatten(2).softmax(-1).view_as(maps)
        rows, columns = weights.sum(3), weights.sum(2)  # (B, keypoints, h), (B, keypoints, w)
        y, x = (rows * ys).sum(-1), (columns * xs).sum(-1)
        spread = (columns * (xs - x[..., None]) ** 2).sum(-1) + (rows * (ys - y[..., None]) ** 2).sum(-1)
        return torch.cat([x, y, spread, 0.1 * maps.amax((2, 3))], dim=1)

    @torch.no_grad()
    def act(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        correlation: float = 0.0,
    ) -> ActionChunk:
        """Decide the next chunk; see `policy.base.Policy.act`.

        Raises:
            WovrError: a negative temperature, or sampling without a generator.
        """
        logits = self.forward(frames, self._embed(instructions, frames), previous_actions)  # (B, C, A, N)
        tokens, log_probs = sample(logits, temperature, generator, correlation)
        return ActionChunk(actions=self.action_bins.decode(tokens), tokens=tokens, log_probs=log_probs)

    def log_prob(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        tokens: torch.Tensor,
        *,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """(B, C, A) exact log-probabilities of `tokens`, differentiable; see `policy.base.Policy.log_prob`."""
        logits = self.forward(frames, self._embed(instructions, frames), previous_actions)
        return log_prob_of(logits, tokens, temperature)

    def _embed(self, instructions: Sequence[str], frames: torch.Tensor) -> torch.Tensor:
        if len(instructions) != len(frames):
            raise WovrError(
                f"{counted(len(frames), 'frame')} but {counted(len(instructions), 'instruction')}; "
                "there must be one for each"
            )
        return embed_tensor(instructions).to(frames.device)


def build(config: TinyVLAConfig, *, seed: int = 0) -> TinyVLA:
    """A policy with weights drawn from `seed`; the global generators are not touched."""
    policy = TinyVLA(config)
    policy.initialise(torch.Generator().manual_seed(seed))
    return policy


class _FilmBlock(nn.Module):
    """A residual convolution whose channels the instruction scales and shifts."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.conv = _conv(width, width, 1)
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(text, 2 * width)

    def forward(self, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """x (B, width, h, w), words (B, text) -> (B, width, h, w)."""
        scale, shift = self.film(words)[..., None, None].chunk(2, dim=1)
        return x + F.relu(self.norm(self.conv(F.relu(x))) * (1 + scale) + shift)


def _conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def _check(config: TinyVLAConfig) -> None:
    if config.width % 16:
        raise WovrError(f"TinyVLA: width must be a multiple of 16, got {config.width}")
    if config.image_size % 4:
        raise WovrError(f"TinyVLA: image_size must be a multiple of 4, got {config.image_size}")
