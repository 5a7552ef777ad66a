"""The reward model: one frame and the instruction in, the probability that the task is done out.

WoVR (arXiv 2602.13977, section 3.1) trains a light CNN with binary cross-entropy on labelled success states. Ours
looks at single pixels' neighbourhoods down to 1/8 of the picture and keeps the *maximum* beside the mean of what it
finds, since the evidence is a small object in a small place; the instruction modulates the features (FiLM), so that
one classifier serves a suite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.errors import WovrError
from wovr_core.precision import autocast
from wovr_core.seeding import global_draws

Embed = Callable[[Sequence[str]], torch.Tensor]
"""Instructions -> embeddings (N, E) float32."""


@dataclass(frozen=True)
class RewardConfig:
    """The classifier and its augmentation."""

    image_size: int = 64
    width: int = 32
    """Channels of the first stage; doubled at each of two halvings."""
    embedding_dim: int = 384
    """Of the instruction embeddings."""
    brightness: float = 0.15
    """Largest shift of all pixels, and relative change of contrast."""
    noise: float = 0.04
    """Largest deviation of pixel noise (of a range of 2)."""
    blur: float = 0.5
    """Share of frames softened as a world model softens them."""
    label_smoothing: float = 0.02
    outcome: bool = False
    """Say beside "is it done" also "will it be done": a second output, for rollouts that end before the task does
    (`rl.outcome_worth`)."""
    seed: int = 0


def build(config: RewardConfig) -> RewardClassifier:
    """A classifier with weights drawn from `config.seed`; the global generator is left as it was."""
    with global_draws(config.seed):
        return RewardClassifier(config)


class _Stage(nn.Module):
    """Convolution, norm, FiLM by the instruction, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, embedding_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)
        self.film = nn.Linear(embedding_dim, 2 * outputs)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(e)[:, :, None, None].chunk(2, dim=1)
        return F.silu(self.norm(self.conv(x)) * (1 + scale) + shift)


class RewardClassifier(nn.Module):
    """A light CNN on one frame, modulated by the instruction. Build it with `build(config)`.

    `temperature` and `bias` (buffers) are Platt's scaling, set by `calibration`; 1 and 0 until then.
    """

    def __init__(self, config: RewardConfig) -> None:
        super().__init__()
        self.config = config
        w, e = config.width, config.embedding_dim
        self.stem = nn.Conv2d(12, w, 3, 1, 1)
        self.stages = nn.ModuleList(
            [_Stage(w, w, 1, e), _Stage(w, 2 * w, 2, e), _Stage(2 * w, 2 * w, 1, e), _Stage(2 * w, 4 * w, 2, e)]
        )
        self.head = nn.Sequential(nn.Linear(8 * w + e, 2 * w), nn.SiLU(), nn.Linear(2 * w, 2 if config.outcome else 1))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))
        self.temperature: torch.Tensor
        self.bias: torch.Tensor

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """u8 (N, H, W, 3) -> (N, 3, H, W) float32 in [-1, 1]."""
        size = self.config.image_size
        if frames.dtype != torch.uint8 or tuple(frames.shape[1:]) != (size, size, 3):
            got = f"{frames.dtype} {tuple(frames.shape)}"
            raise WovrError(f"the reward classifier takes u8 frames (N, {size}, {size}, 3), got {got}")
        return frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, pixels: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Uncalibrated logits.

        Args:
            pixels: (N, 3, H, W) in [-1, 1].
            embeddings: (N, E) of the instructions.

        Returns:
            (N, 1), or (N, 2) with `outcome`: of success now, and of success in the end.
        """
        if embeddings.shape != (len(pixels), self.config.embedding_dim):
            raise WovrError(
                f"need instruction embeddings ({len(pixels)}, {self.config.embedding_dim}), "
                f"got {tuple(embeddings.shape)}"
            )
        e = F.normalize(embeddings, dim=1) * self.config.embedding_dim**0.5
        x = self.stem(F.pixel_unshuffle(pixels, 2))
        for stage in self.stages:
            x = stage(x, e)
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), e], dim=1)
        return self.head(pooled).float()

    def loss(
        self,
        frames: torch.Tensor,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
        generator: torch.Generator,
        outcomes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted binary cross-entropy on augmented frames.

        Args:
            frames: (N, H, W, 3) u8.
            embeddings: (N, E).
            labels: (N,) in {0, 1}.
            weights: (N,), see `labels.balanced_weights`.
            generator: of the augmentation.
            outcomes: (N,) in {0, 1}, NaN where unknown; needed with `outcome`, and read only there.
        """
        logits = self(augment(self.pixels(frames), self.config, generator), embeddings)
        loss = self._cross_entropy(logits[:, 0], labels.float(), weights)
        with torch.no_grad():
            right = ((logits[:, 0] > 0) == (labels > 0.5)).float().mean()
        metrics = {"reward/loss": float(loss.detach()), "reward/accuracy": float(right)}
        if self.config.outcome:
            assert outcomes is not None
            known = ~outcomes.isnan()
            later = self._cross_entropy(logits[known, 1], outcomes[known].float(), weights[known])
            loss, metrics["reward/outcome_loss"] = loss + later, float(later.detach())
        return loss, metrics

    def _cross_entropy(self, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        smooth = self.config.label_smoothing
        each = F.binary_cross_entropy_with_logits(logits, target * (1 - 2 * smooth) + smooth, reduction="none")
        return (each * weights).sum() / weights.sum().clamp(min=1e-6)

    @torch.no_grad()
    def logits(self, frames: torch.Tensor, embeddings: torch.Tensor, batch: int = 256) -> torch.Tensor:
        """Uncalibrated logits (N,) of success in u8 frames (N, H, W, 3), in eval mode."""
        return self._outputs(frames, embeddings, batch)[:, 0]

    @torch.no_grad()
    def p_outcome(self, frames: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Probability (N,) that what u8 frames (N, H, W, 3) show will end in success, in eval mode; uncalibrated.

        Raises:
            WovrError: the classifier was not built with `outcome`.
        """
        if not self.config.outcome:
            raise WovrError(
                "this reward classifier does not predict outcomes; train one with reward.model.outcome=true"
            )
        return torch.sigmoid(self._outputs(frames, embeddings)[:, 1])

    def _outputs(self, frames: torch.Tensor, embeddings: torch.Tensor, batch: int = 256) -> torch.Tensor:
        self.eval()
        parts = zip(frames.split(batch), embeddings.split(batch), strict=True)
        with autocast(frames.device):  # half the time, where the processor has bf16
            return torch.cat([self(self.pixels(f), e) for f, e in parts])

    def p_success(self, frames: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Calibrated probability (N,) of u8 frames (N, H, W, 3)."""
        return torch.sigmoid(self.logits(frames, embeddings) / self.temperature + self.bias)

    def reward_function(self, embed: Embed) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor]:
        """What `WorldModelEnv` is handed: frames and instructions -> p_success; each instruction is embedded once."""
        return _embedding_once(self.p_success, embed)

    def outcome_function(self, embed: Embed) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor] | None:
        """The same for p_outcome; None for a classifier without `outcome`."""
        return _embedding_once(self.p_outcome, embed) if self.config.outcome else None


def _embedding_once(
    judge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], embed: Embed
) -> Callable[[torch.Tensor, Sequence[str]], torch.Tensor]:
    cache: dict[str, torch.Tensor] = {}

    def judge_texts(frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        missing = [text for text in dict.fromkeys(instructions) if text not in cache]
        if missing:
            cache.update(zip(missing, embed(missing), strict=True))
        return judge(frames, torch.stack([cache[text] for text in instructions]))

    return judge_texts


def augment(pixels: torch.Tensor, config: RewardConfig, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, softening and noise, so that imagined frames are not foreign; (N, 3, H, W) both."""
    n = len(pixels)

    def uniform() -> torch.Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator)

    x = pixels * (1 + config.brightness * (2 * uniform() - 1)) + config.brightness * (2 * uniform() - 1)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = uniform() * (uniform() < config.blur)
    x = torch.lerp(x, soft, share)
    return x + config.noise * uniform() * torch.randn(x.shape, generator=generator)
