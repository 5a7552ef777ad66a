"""OpenVLA's eyes: DINOv2 (with registers) and SigLIP side by side, from transformers' own parts, and the projector.

Both towers stop before their last block, without the final norm, as published; their patches' features are joined per
patch and mapped into the language model's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.errors import WovrError

REGISTERS = 4
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TowerConfig:
    """A vision transformer; `layers` counts the published blocks, of which the last is not computed."""

    width: int
    layers: int
    heads: int
    hidden: int


@dataclass(frozen=True)
class VisionConfig:
    image_size: int = 224
    patch: int = 14
    dino: TowerConfig = TowerConfig(1024, 24, 16, 4096)
    """ViT-L/14 with 4 registers."""
    siglip: TowerConfig = TowerConfig(1152, 27, 16, 4304)
    """So400m/14."""
    crop: float = 0.9
    """Share of the picture's area that is seen, in its middle: training crops at random, so evaluation crops too."""


class VisionTowers(nn.Module):
    """u8 frames -> features of the language model's width, one per patch."""

    def __init__(self, config: VisionConfig, width: int) -> None:
        from transformers import (
            Dinov2WithRegistersConfig,
            Dinov2WithRegistersModel,
            SiglipVisionConfig,
            SiglipVisionModel,
        )

        super().__init__()
        self.config = config
        dino, siglip = config.dino, config.siglip
        self.featurizer = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=dino.width,
                num_hidden_layers=dino.layers - 1,
                num_attention_heads=dino.heads,
                mlp_ratio=dino.hidden // dino.width,
                image_size=config.image_size,
                patch_size=config.patch,
                num_register_tokens=REGISTERS,
                layer_norm_eps=1e-6,
                hidden_act="gelu",
            )
        )
        self.featurizer.layernorm = nn.Identity()  # type: ignore[assignment]
        self.fused_featurizer = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=siglip.width,
                num_hidden_layers=siglip.layers - 1,
                num_attention_heads=siglip.heads,
                intermediate_size=siglip.hidden,
                image_size=config.image_size,
                patch_size=config.patch,
                layer_norm_eps=1e-6,
                hidden_act="gelu",  # as OpenVLA's weights were trained
                vision_use_head=False,
            )
        )
        self.fused_featurizer.post_layernorm = nn.Identity()  # type: ignore[assignment]
        joined = dino.width + siglip.width
        self.projector = nn.ModuleDict(
            {"fc1": nn.Linear(joined, 4 * joined), "fc2": nn.Linear(4 * joined, width), "fc3": nn.Linear(width, width)}
        )
        for name, values in (("mean", _IMAGENET_MEAN), ("deviation", _IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.mean: torch.Tensor
        self.deviation: torch.Tensor

    def pixels(self, frames: torch.Tensor) -> torch.Tensor:
        """u8 (B, H, W, 3) -> (B, 3, size, size) in [0, 1]: cropped, resized, grey levels whole."""
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise WovrError(f"OpenVLA-OFT takes u8 frames (B, H, W, 3), got {frames.dtype} {tuple(frames.shape)}")
        x = frames.to(self.mean.device).permute(0, 3, 1, 2).float()
        size, side = self.config.image_size, x.shape[-1]
        edge = round(side * (1 - self.config.crop**0.5) / 2)
        x = x[..., edge : x.shape[-2] - edge, edge : side - edge]
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True)
        return x.round().clamp(0, 255) / 255

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """u8 (B, H, W, 3) -> (B, patches, width)."""
        x, dtype = self.pixels(frames), next(self.projector.parameters()).dtype
        dino = self.featurizer(((x - self.mean) / self.deviation).to(dtype)).last_hidden_state[:, 1 + REGISTERS :]
        siglip = self.fused_featurizer((2 * x - 1).to(dtype)).last_hidden_state
        joined = torch.cat([dino, siglip], dim=-1)
        hidden = F.gelu(self.projector["fc1"](joined))
        return self.projector["fc3"](F.gelu(self.projector["fc2"](hidden)))
