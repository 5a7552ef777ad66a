"""From frames to latents and back, behind one interface for a tiny per-frame codec and a pretrained video VAE.

Both group time alike: N = 1 + 4 (L - 1) frames are L latent frames, the first frame alone, then four by four. The
tiny codec repeats the first frame to a group of four and stacks a group's latents as channels; `AutoencoderKLWan`
does its own causal thing. Latents leave the codec normalised to about zero mean and unit deviation per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.errors import WovrError

GROUP = 4
"""Frames, and actions, per latent frame."""


class VideoCodec(Protocol):
    """What the world model needs of an autoencoder. Dc latent channels, h = H / spatial, w = W / spatial."""

    channels: int
    spatial: int
    per_frame: bool
    """Whether a frame's latents are its own, whatever came before: then they can be cached."""

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """frames u8 (B, 1 + 4 (L - 1), H, W, 3) -> normalised latents (B, L, Dc, h, w) float32."""
        ...

    def decode(self, latents: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """latents (B, L, Dc, h, w) -> frames u8 (B, 1 + 4 (L - 1), H, W, 3), or only the `last` of them."""
        ...

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Each frame by itself: u8 (N, H, W, 3) -> (N, c, h, w)."""
        ...

    def decode_frames(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode_frames`: (N, c, h, w) -> u8 (N, H, W, 3)."""
        ...


@dataclass(frozen=True)
class AutoencoderConfig:
    """A per-frame `AutoencoderTiny` on pixel-unshuffled input."""

    image_size: int = 64
    latent_channels: int = 8
    """Per frame; a latent frame has four times as many."""
    width: int = 64
    """Of every stage: AutoencoderTiny needs them equal."""
    blocks: tuple[int, ...] = (1, 1)
    """Residual blocks per stage; every stage after the first halves the picture."""
    unshuffle: int = 4
    """Pixels folded into channels on both axes before the first convolution."""
    activation: str = "silu"
    latent_noise: float = 0.1
    """Deviation of the noise added to the normalised latents in training, so that decoding forgives the
    transformer's small errors."""
    moving_weight: float = 6.0
    """How much more a pixel of the moving region counts in the loss."""

    @property
    def spatial(self) -> int:
        return int(self.unshuffle * 2 ** (len(self.blocks) - 1))


class TinyFrameCodec(nn.Module):
    """`AutoencoderTiny` per frame, on the difference to a mean picture, with latents normalised per channel.

    The mean picture (a buffer, see `fit_mean`) spares the network the static scene. Normalisation is a batch norm
    without affine part: batch statistics while training, running ones (buffers) afterwards.
    """

    per_frame = True

    def __init__(self, config: AutoencoderConfig) -> None:
        from diffusers import AutoencoderTiny
        from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock

        super().__init__()
        if config.image_size % config.spatial:
            raise WovrError(f"image_size {config.image_size} is not a multiple of the codec's {config.spatial}")
        self.config = config
        self.channels = GROUP * config.latent_channels
        self.spatial = config.spatial
        folded = 3 * config.unshuffle**2
        widths = (config.width,) * len(config.blocks)
        net: Any = AutoencoderTiny(
            in_channels=folded,
            out_channels=folded,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            num_encoder_blocks=config.blocks,
            num_decoder_blocks=config.blocks[::-1],
            latent_channels=config.latent_channels,
            act_fn=config.activation,
        )
        self.norm = nn.BatchNorm2d(config.latent_channels, eps=1e-4, momentum=0.05, affine=False)
        self.register_buffer("mean_frame", torch.zeros(3, config.image_size, config.image_size))
        self.mean_frame: torch.Tensor
        for block in net.modules():
            if isinstance(block, AutoencoderTinyBlock):
                block.fuse = nn.Identity()  # type: ignore[assignment]  # its ReLU on the residual path can die, and then all learning ends
        self.net = net.to(memory_format=torch.channels_last)
        self._begin_at_the_mean()

    def _begin_at_the_mean(self) -> None:
        """Let the untrained decoder answer with the mean picture: half the training time goes by until it learns it."""
        last = self.net.decoder.layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 0.5)  # DecoderTiny maps [0, 1] to [-1, 1] at its end

    @torch.no_grad()
    def fit_mean(self, frames: torch.Tensor) -> None:
        """Set the mean picture from frames u8 (N, H, W, 3) of the training episodes."""
        self.mean_frame.copy_(frames.float().mean(dim=0).permute(2, 0, 1) / 127.5 - 1)

    @torch.no_grad()
    def fit_latents(self, frames: torch.Tensor, batch: int = 128) -> None:
        """Set the latents' mean and deviation from frames u8 (N, H, W, 3), once training has ended."""
        momentum, training = self.norm.momentum, self.training
        self.norm.reset_running_stats()
        self.norm.momentum = None  # a plain average over the batches
        self.train()
        for part in frames.split(batch):
            self.encode_pixels(self.pixels(part))
        self.norm.momentum = momentum
        self.train(training)

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """frames u8 (N, H, W, 3) -> (N, 3, H, W) float32 in [-1, 1]."""
        frames, size = frames.to(self.mean_frame.device), self.config.image_size
        if frames.dtype != torch.uint8 or frames.shape[-3:] != (size, size, 3):
            raise WovrError(
                f"the codec takes u8 frames of {size} x {size} x 3, got {frames.dtype} {tuple(frames.shape)}"
            )
        return frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in [-1, 1] -> normalised latents (N, c, h, w)."""
        folded = F.pixel_unshuffle(pixels - self.mean_frame, self.config.unshuffle)
        # Not net(...): its forward quantises the latents to bytes, which blocks the encoder's gradient.
        folded = folded.contiguous(memory_format=torch.channels_last)
        return self.norm(self.net.encode(folded, return_dict=False)[0].float())

    def decode_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents (N, c, h, w) -> (N, 3, H, W), not clamped."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        folded = self.net.decode(latents, return_dict=False)[0]
        return F.pixel_shuffle(folded, self.config.unshuffle).float() + self.mean_frame

    @torch.no_grad()
    def encode_frames(self, frames: torch.Tensor, batch: int = 128) -> torch.Tensor:
        """Each frame by itself, to be cached: u8 (N, H, W, 3) -> (N, c, h, w) float32."""
        return torch.cat([self.encode_pixels(self.pixels(part)).float() for part in frames.split(batch)])

    @torch.no_grad()
    def decode_frames(self, latents: torch.Tensor, batch: int = 128) -> torch.Tensor:
        """(N, c, h, w) -> u8 (N, H, W, 3)."""
        parts = [self.decode_pixels(part) for part in latents.split(batch)]
        pixels = torch.cat(parts).clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def group(self, frame_latents: torch.Tensor) -> torch.Tensor:
        """(B, 1 + 4 (L - 1), c, h, w) -> (B, L, 4 c, h, w), the first frame repeated to a group."""
        if frame_latents.shape[1] % GROUP != 1:
            raise ValueError(f"expected 1 + 4 k frames, got {frame_latents.shape[1]}")
        first = frame_latents[:, :1].expand(-1, GROUP - 1, -1, -1, -1)
        whole = torch.cat([first, frame_latents], dim=1)
        return whole.unflatten(1, (-1, GROUP)).flatten(2, 3)

    def ungroup(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, L, 4 c, h, w) -> (B, 4 L, c, h, w); the first group stands for one frame, four times."""
        return latents.unflatten(2, (GROUP, -1)).flatten(1, 2)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """frames u8 (B, 1 + 4 (L - 1), H, W, 3) -> (B, L, 4 c, h, w)."""
        return self.group(self.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))

    def decode(self, latents: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """(B, L, 4 c, h, w) -> u8 (B, 1 + 4 (L - 1), H, W, 3), or only the `last` frames of them."""
        single = self.ungroup(latents)[:, GROUP - 1 :]
        if last is not None:
            single = single[:, -last:]
        return self.decode_frames(single.flatten(0, 1)).unflatten(0, single.shape[:2])

    def loss(
        self, frames: torch.Tensor, moving: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Motion-weighted L1 of decode(encode(x) + noise).

        Args:
            frames: u8 (N, H, W, 3).
            moving: bool (N, H, W), see `motion.moving_region`.
            generator: of the latent noise.

        Returns:
            the scalar loss, and PSNR in dB over the whole frame and over the moving region.
        """
        pixels = self.pixels(frames)
        moving = moving.to(pixels.device)
        latents = self.encode_pixels(pixels)
        noise = torch.randn(latents.shape, generator=generator, dtype=torch.float32)
        decoded = self.decode_pixels(latents + self.config.latent_noise * noise.to(latents.device))
        weight = 1 + self.config.moving_weight * moving[:, None].float()
        loss = ((decoded - pixels).abs() * weight).sum() / (3 * weight.sum())
        with torch.no_grad():
            error = (decoded.clamp(-1, 1) - pixels).square().mean(dim=1)
            metrics = {"ae/psnr": _psnr(error.mean()), "ae/psnr_moving": _psnr(_masked_mean(error, moving))}
        return loss, {"ae/loss": float(loss.detach()), **metrics}


def _masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _psnr(mse: torch.Tensor) -> float:
    """Of pixels in [-1, 1], whose range is 2."""
    return float(10 * torch.log10(4 / mse.clamp(min=1e-10)))
