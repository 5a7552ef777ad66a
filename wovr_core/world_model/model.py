"""The world model: codec + action-conditioned transformer + rectified flow, from frames to imagined frames.

Sequence of one training window (B, 13 frames): the reference frame, 4 recent frames, 8 future ones -> L = 4 latent
frames: reference | recent | future, future. Actions (B, 13, A): row i produced frame i.

Configurations are read by every command, networks are built by few: diffusers, which takes longer to import than torch,
waits until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from wovr_core import plugins
from wovr_core.config import Pluggable
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.precision import autocast
from wovr_core.seeding import global_draws
from wovr_core.types import ACTION_DIM, CHUNK, CONTEXT_FRAMES, RECENT_FRAMES
from wovr_core.world_model import flow
from wovr_core.world_model.autoencoder import GROUP, AutoencoderConfig, TinyFrameCodec
from wovr_core.world_model.wan_codec import WanCodec, WanCodecConfig

CONTEXT_LATENTS = 2
WINDOW = CONTEXT_FRAMES + CHUNK
SIGMA_FLOOR = 0.2
"""In predicting a change: an error of the clean latents counts 1 / sigma^2 in the velocity's loss, at most 25. Of up to
five evenly spaced solver steps none is below it."""


@dataclass(frozen=True)
class WanConfig:
    """What the pretrained Wan has otherwise than the small model: the values are those of Wan2.2-TI2V-5B."""

    codec: WanCodecConfig = field(default_factory=WanCodecConfig)
    ffn_dim: int = 14336


@dataclass(frozen=True)
class WorldModelConfig(Pluggable):
    """A whole world model. The switches below the line are the paper's ablations."""

    plugin_group: ClassVar[str] = plugins.WORLD_MODELS
    own_kind: ClassVar[str] = "wan"

    codec: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    layers: int = 6
    heads: int = 4
    head_dim: int = 64
    ffn_ratio: int = 4
    patch: int = 1
    """Latent cells per token on both axes."""
    prediction: Literal["velocity", "change"] = "velocity"
    """What the network's output means: Wan's velocity; or the clean latents' change against what is there already,
    turned into a velocity by (x - clean) / sigma, which spares a small network the copying of noise and scene."""
    change_decay: float = 0.7
    """What is there already, for "change": reference + decay * (newest recent frame - reference). At 1, errors of the
    chunks add up without bound (seen); below, they fade towards the anchor."""
    change_weight: float = 0.0
    """How much more the loss counts latent cells that change within the chunk."""
    time_mean: float = 0.0
    time_deviation: float = 1.0
    """Of the logit-normal training times."""
    sigma_shift: float = 1.0
    """Of the solver's times; 5 in the published 5B setting."""
    seed: int = 0
    """Of the initial weights."""

    anchor: bool = True
    """Show the reference frame; otherwise the recent frames stand in its place."""
    recent_frames: int = RECENT_FRAMES
    """4, or 1: then the newest frame is shown four times."""
    context_noise: float = 0.3
    """Largest share of noise in the recent context while training; 0 turns noisy context off."""
    actions_in_time: bool = True
    """Actions added to the diffusion-time embedding (AdaLN)."""
    actions_in_tokens: bool = True
    """Actions as tokens of the cross-attention."""

    wan: WanConfig | None = None
    """Wan's own autoencoder in place of `codec`, its feed-forward width in place of `ffn_ratio`, and actions as RLinf's
    checkpoints take them: 13 tokens without positions."""

    def __post_init__(self) -> None:
        if self.recent_frames not in (1, RECENT_FRAMES):
            raise WovrError(f"recent_frames must be 1 or {RECENT_FRAMES}, got {self.recent_frames}")
        if self.prediction not in ("velocity", "change"):
            raise UnknownNameError("prediction", self.prediction, ["velocity", "change"])
        if self.latent_side % self.patch:
            raise WovrError(f"patch {self.patch} does not divide the latent picture")
        if self.wan and (self.prediction == "change" or self.recent_frames == 1 or self.change_weight):
            raise WovrError(
                "with wan, prediction must be velocity, recent_frames 4 and change_weight 0: "
                "its latent frames cannot be taken apart into frames"
            )

    @property
    def image_size(self) -> int:
        """H = W of the frames."""
        return self.wan.codec.image_size if self.wan else self.codec.image_size

    @property
    def latent_side(self) -> int:
        """h = w of the latents."""
        return self.image_size // (self.wan.codec.spatial if self.wan else self.codec.spatial)


def build(config: WorldModelConfig) -> WorldModel:
    """A world model with weights drawn from `config.seed`; the global generator is left as it was."""
    with global_draws(config.seed):
        return WorldModel(config)


class WorldModel(nn.Module):
    """Codec and transformer. Build it with `build(config)`, which seeds the weights."""

    def __init__(self, config: WorldModelConfig) -> None:
        from wovr_core.world_model.transformer import ActionWanTransformer

        super().__init__()
        self.config = config
        wan = config.wan
        self.codec: Any = WanCodec(wan.codec) if wan else TinyFrameCodec(config.codec)  # a VideoCodec and a Module
        self.transformer = ActionWanTransformer(
            patch_size=(1, config.patch, config.patch),
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=self.codec.channels,
            out_channels=self.codec.channels,
            ffn_dim=wan.ffn_dim if wan else config.ffn_ratio * config.heads * config.head_dim,
            num_layers=config.layers,
            actions_in_time=config.actions_in_time,
            actions_in_tokens=config.actions_in_tokens,
            action_rows=0 if wan else GROUP + WINDOW - 1,
            repeat_first=wan is None,
        )
        if config.prediction == "change":  # no change is the best first guess
            nn.init.zeros_(self.transformer.proj_out.weight)
            nn.init.zeros_(self.transformer.proj_out.bias)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.proj_out.weight.device

    def condition(self, latents: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply the context ablations to the first two latent frames and to the actions that produced them."""
        recent = latents[:, 1:2]
        if self.config.recent_frames == 1:
            recent = self._hold_newest(recent)
            actions = actions.clone()
            actions[:, 1 : RECENT_FRAMES + 1] = actions[:, RECENT_FRAMES : RECENT_FRAMES + 1]
        reference = latents[:, :1] if self.config.anchor else recent
        return torch.cat([reference, recent, latents[:, CONTEXT_LATENTS:]], dim=1), actions

    def _hold_newest(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, L, 4 c, h, w): every group filled with its newest frame."""
        newest = latents.unflatten(2, (GROUP, -1))[:, :, -1:]
        return newest.expand(-1, -1, GROUP, -1, -1, -1).flatten(2, 3)

    def velocity(self, latents: torch.Tensor, sigmas: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """dx/dsigma for all latent frames (the context's part means nothing).

        Args:
            latents: (B, 4, Dc, h, w).
            sigmas: (B, 4).
            actions: (B, 13, A).
        """
        output = self.transformer.velocity(latents, sigmas * flow.TIMESTEPS, actions).float()
        if self.config.prediction == "velocity":
            return output
        reference, newest = self._hold_newest(latents[:, :1]), self._hold_newest(latents[:, 1:2])
        clean = torch.lerp(reference, newest, self.config.change_decay) + output
        return (latents - clean) / sigmas.clamp(min=SIGMA_FLOOR).view(*sigmas.shape, 1, 1, 1)

    def loss(
        self, latents: torch.Tensor, actions: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Rectified-flow loss of one batch of windows.

        Args:
            latents: (B, 4, Dc, h, w) grouped and normalised (cache them: `LatentWindows`), or u8 frames
                (B, 13, H, W, 3), which are encoded first.
            actions: (B, 13, A); row i produced frame i, row 0 is NULL_ACTION.
            generator: of times, noise and context noise.
        """
        if latents.dtype == torch.uint8:
            latents = self.codec.encode(latents)
        latents, actions = latents.to(self.device), actions.to(self.device)
        self._check(latents, actions, CONTEXT_LATENTS + CHUNK // GROUP)
        latents, actions = self.condition(latents, actions)
        context, future = latents[:, :CONTEXT_LATENTS], latents[:, CONTEXT_LATENTS:]
        sigmas = flow.logit_normal(len(latents), generator, self.config.time_mean, self.config.time_deviation).to(
            latents.device
        )
        noise = torch.randn(future.shape, generator=generator).to(latents.device)
        weight = None
        if self.config.change_weight:
            change = (future - self._hold_newest(context[:, 1:])).abs().mean(dim=2, keepdim=True)
            weight = 1 + self.config.change_weight * change.clamp(max=1)
        if self.config.context_noise:
            context = flow.noisy_context(context, self.config.context_noise, generator)
        with self._autocast():
            loss = flow.flow_loss(lambda x, s: self.velocity(x, s, actions), context, future, sigmas, noise, weight)
        return loss, {"wm/loss": float(loss.detach())}

    @torch.no_grad()
    def imagine_chunk(
        self,
        context: torch.Tensor,
        actions: torch.Tensor,
        solver_steps: int,
        generator: torch.Generator | Sequence[torch.Generator],
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The next 8 frames, as latents.

        Args:
            context: (B, 2, Dc, h, w): reference, recent.
            actions: (B, 13, A): what produced the context frames, then the 8 new actions.
            solver_steps: 1 to 5.
            generator: one, or one per row (then a row does not depend on its batch mates).
            noise: (B, 2, Dc, h, w) to begin with, in place of the generator's.

        Returns:
            (B, 2, Dc, h, w)
        """
        context, actions = context.to(self.device), actions.to(self.device)
        self._check(context, actions, CONTEXT_LATENTS)
        shape = (len(context), CHUNK // GROUP, *context.shape[2:])
        noise = (flow.row_noise(shape, generator) if noise is None else noise).to(context.device)
        context, actions = self.condition(context, actions)
        with self._autocast():
            whole = flow.imagine(
                lambda x, s: self.velocity(x, s, actions),
                context, noise, solver_steps, self.config.sigma_shift,
            )  # fmt: skip
        return whole[:, CONTEXT_LATENTS:]

    def next_context(
        self, context: torch.Tensor, future: torch.Tensor, seen: torch.Tensor, reencode: bool = False
    ) -> torch.Tensor:
        """The context of the next chunk.

        Args:
            context: (B, 2, Dc, h, w), of the chunk that was imagined.
            future: (B, 2, Dc, h, w), what `imagine_chunk` made of it.
            seen: u8 (B, 5, H, W, 3), the reference frame and the 4 newest imagined ones.
            reencode: encode those frames instead of taking their latents over; a codec whose latents depend on
                earlier frames always does, as it was trained on windows that begin with the reference.
        """
        recent = future[:, -1:]
        if reencode or not self.codec.per_frame:
            recent = self.codec.encode(seen)[:, 1:].float()
        return torch.cat([context[:, : CONTEXT_LATENTS - 1], recent], dim=1)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, weights=self.transformer.proj_out.weight.dtype)

    def _check(self, latents: torch.Tensor, actions: torch.Tensor, frames: int) -> None:
        side = self.config.latent_side
        wanted = (frames, self.codec.channels, side, side)
        if tuple(latents.shape[1:]) != wanted:
            raise WovrError(f"latents must be (B, {', '.join(map(str, wanted))}), got {tuple(latents.shape)}")
        if tuple(actions.shape) != (len(latents), WINDOW, ACTION_DIM):
            raise WovrError(
                f"actions must be ({len(latents)}, {WINDOW}, {ACTION_DIM}), one row per frame of the window; "
                f"got {tuple(actions.shape)}"
            )
