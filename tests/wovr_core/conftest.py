"""One thread; and a pretrained Wan in diffusers' format, small: the same classes, the same files, few numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from wovr_core.world_model.model import WorldModelConfig

TEXT_DIM = 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are many times slower with two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def wan_config() -> WorldModelConfig:
    from wovr_core.world_model.model import WanConfig, WorldModelConfig
    from wovr_core.world_model.wan_codec import WanCodecConfig

    codec = WanCodecConfig(
        image_size=32,
        base_dim=4,
        decoder_base_dim=4,
        latent_channels=6,
        dim_mult=(1, 2, 2),
        num_res_blocks=1,
        temporal_downsample=(True, True),  # four frames to a latent frame, as Wan2.2's
        latents_mean=(0.1, -0.2, 0.3, 0.0, 0.05, -0.1),
        latents_std=(0.5, 1.5, 0.7, 1.0, 0.9, 1.2),
    )
    return WorldModelConfig(
        wan=WanConfig(codec=codec, ffn_dim=40), layers=2, heads=2, head_dim=12, patch=2, sigma_shift=5.0
    )


@pytest.fixture(scope="session")
def wan_folder(wan_config: WorldModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`transformer` (in several shards) and `vae`, as `save_pretrained` writes them, all weights random."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    assert wan_config.wan is not None
    codec = wan_config.wan.codec
    folder = tmp_path_factory.mktemp("wan")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=6, out_channels=6,
            text_dim=TEXT_DIM, freq_dim=256, ffn_dim=40, num_layers=2, cross_attn_norm=True,
        )  # fmt: skip
        vae = AutoencoderKLWan(
            base_dim=4, decoder_base_dim=4, z_dim=6, dim_mult=list(codec.dim_mult), num_res_blocks=1,
            temperal_downsample=list(codec.temporal_downsample), latents_mean=list(codec.latents_mean),
            latents_std=list(codec.latents_std), is_residual=True, in_channels=12, out_channels=12, patch_size=2,
            scale_factor_spatial=8,
        )  # fmt: skip
        for module in (transformer, vae):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.5)
    transformer.save_pretrained(folder / "transformer", max_shard_size="40KB")
    vae.save_pretrained(folder / "vae")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    return folder
