"""Wan's pretrained video autoencoder behind the codec protocol: causal in time, four frames to a latent frame.

What a frame's latents are depends on the frames before it, so nothing can be cached frame by frame: windows are
encoded whole (`windows.FrameWindows`), and what is imagined is encoded again behind its reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wovr_core.errors import WovrError

# Of the Wan2.2 autoencoder's latents, as published with it.
# fmt: off
LATENTS_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
LATENTS_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)
# fmt: on


@dataclass(frozen=True)
class WanCodecConfig:
    """An `AutoencoderKLWan`; the values are those of Wan2.2's."""

    image_size: int = 256
    base_dim: int = 160
    decoder_base_dim: int = 256
    latent_channels: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    patch: int = 2
    """Pixels folded into channels on both axes before the first convolution."""
    latents_mean: tuple[float, ...] = LATENTS_MEAN
    latents_std: tuple[float, ...] = LATENTS_STD
    clips: int = 4
    """Encoded or decoded at a time: memory against speed."""
    truncate: bool = False
    """Cut decoded grey levels down to whole ones, as RLinf's published inference does; otherwise they are rounded."""

    def __post_init__(self) -> None:
        if self.image_size % self.spatial:
            raise WovrError(f"image_size {self.image_size} is not a multiple of the codec's {self.spatial}")
        if not len(self.latents_mean) == len(self.latents_std) == self.latent_channels:
            raise WovrError(
                f"latents_mean and latents_std must have latent_channels = {self.latent_channels} values, "
                f"got {len(self.latents_mean)} and {len(self.latents_std)}"
            )

    @property
    def spatial(self) -> int:
        return int(self.patch * 2 ** (len(self.dim_mult) - 1))


class WanCodec(nn.Module):
    """`AutoencoderKLWan`, frozen, with latents normalised by the statistics published with it."""

    per_frame = False
    """Latents of a frame depend on the frames before it."""

    def __init__(self, config: WanCodecConfig) -> None:
        from diffusers import AutoencoderKLWan

        super().__init__()
        self.config = config
        self.channels = config.latent_channels
        self.spatial = config.spatial
        folded = 3 * config.patch**2
        net: Any = AutoencoderKLWan(
            base_dim=config.base_dim,
            decoder_base_dim=config.decoder_base_dim,
            z_dim=config.latent_channels,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            temperal_downsample=list(config.temporal_downsample),
            latents_mean=list(config.latents_mean),
            latents_std=list(config.latents_std),
            is_residual=True,
            in_channels=folded,
            out_channels=folded,
            patch_size=config.patch,
            scale_factor_spatial=config.spatial,
        )
        self.net = net.eval().requires_grad_(False)
        # Part of the configuration, so not of the weights; buffers, so that they move with them.
        for name, values in (("mean", config.latents_mean), ("deviation", config.latents_std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1, 1), persistent=False)
        self.mean: torch.Tensor
        self.deviation: torch.Tensor

    def train(self, mode: bool = True) -> WanCodec:
        """Stays in evaluation mode: it is pretrained and frozen."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """frames u8 (B, 1 + 4 (L - 1), H, W, 3) -> normalised latents (B, L, Dc, h, w) float32."""
        size = self.config.image_size
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[2:] != (size, size, 3):
            raise WovrError(
                f"the codec takes u8 clips of {size} x {size} x 3, got {frames.dtype} {tuple(frames.shape)}"
            )
        if frames.shape[1] % 4 != 1:
            raise WovrError(f"the codec takes 1 + 4 k frames, got {frames.shape[1]}")
        parts = []
        for clips in frames.split(self.config.clips):
            pixels = clips.to(self.mean.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # (b, 3, T, H, W)
            z = self.net.encode(pixels.to(self._dtype)).latent_dist.mode().float()
            parts.append(((z - self.mean) / self.deviation).transpose(1, 2))
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """latents (B, L, Dc, h, w) -> frames u8 (B, 1 + 4 (L - 1), H, W, 3), or only the `last` of them.

        The decoder is causal too: all latents are decoded, whatever is kept.
        """
        parts = []
        for clips in latents.split(self.config.clips):
            z = clips.to(self.mean.device).float().transpose(1, 2) * self.deviation + self.mean
            pixels = self.net.decode(z.to(self._dtype)).sample.float()  # (b, 3, T, H, W) in [-1, 1]
            grey = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 4, 1)
            grey = grey if self.config.truncate else grey.round()
            parts.append(grey.to(torch.uint8)[:, -last if last else 0 :])
        return torch.cat(parts).contiguous()

    def encode_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Each frame as a clip of its own: u8 (N, H, W, 3) -> (N, Dc, h, w). For the codec's own error."""
        return self.encode(frames[:, None])[:, 0]

    def decode_frames(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode_frames`: (N, Dc, h, w) -> u8 (N, H, W, 3)."""
        return self.decode(latents[:, None])[:, 0]

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype
