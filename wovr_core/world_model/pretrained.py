"""The action-conditioned model from the pretrained text-to-video Wan, in diffusers' format: a local folder or a hub id.

What is the same is taken over; the text embedder makes room for the two action channels, which begin so that the
model computes, whatever the actions, what the pretrained one does for an empty text: the actions' share of the time
embedding is zero, and every action token is the token that Wan has for text padding.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.foreign_weights import fill, tensors, without_values
from wovr_core.world_model.model import WorldModel, WorldModelConfig

TEXT = "condition_embedder.text_embedder."
CHANNELS = ("condition_embedder.action_time.", "condition_embedder.action_tokens.")


@dataclass(frozen=True)
class PretrainedConfig:
    """Where the pretrained weights are."""

    source: str = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    """A folder with `transformer` and `vae` in it, or a hub id."""
    revision: str = ""
    """Of the hub id; its newest if empty."""
    dtype: str = "float32"
    """Of the transformer's weights in memory: float32 to train them all, bfloat16 beneath adapters. The action channels
    are always float32."""

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise WovrError(f"pretrained.dtype must be float32 or bfloat16, got {self.dtype!r}")


def offline() -> bool:
    """Whether the hub must not be asked: WOVR_OFFLINE or HF_HUB_OFFLINE is set."""
    return any(
        os.environ.get(name, "").lower() not in ("", "0", "false") for name in ("WOVR_OFFLINE", "HF_HUB_OFFLINE")
    )


def locate(config: PretrainedConfig) -> Path:
    """The folder with `transformer` and `vae`, fetched or found in the hub's cache if `source` is a hub id.

    Raises:
        WovrError: the folder lacks a part, or the hub cannot give it.
    """
    folder = Path(config.source).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or config.source.startswith((".", "~")) or config.source.count("/") != 1:
            raise WovrError(f"pretrained.source: there is no folder {folder}, and it is no hub id (owner/name)")
        folder = _from_hub(config)
    for part in ("transformer", "vae"):
        if not (folder / part / "config.json").is_file():
            raise WovrError(f"{folder} has no {part}/config.json: it is no Wan model in diffusers' format")
    return folder


def _from_hub(config: PretrainedConfig) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            config.source,
            revision=config.revision or None,
            allow_patterns=["transformer/*", "vae/*"],
            local_files_only=offline(),
        )
    except Exception as error:
        if offline():
            raise WovrError(
                f"{config.source} is not in the hub's cache and WOVR_OFFLINE or HF_HUB_OFFLINE forbids to fetch it: "
                "unset that, or name a local folder with --set world_model.pretrained.source=FOLDER"
            ) from error
        raise WovrError(
            f"{config.source} cannot be fetched from the hub ({type(error).__name__}): "
            "name a local folder with --set world_model.pretrained.source=FOLDER"
        ) from error
    return Path(found)


def build_empty(config: WorldModelConfig) -> WorldModel:
    """The model `without_values`. Raises MissingDependencyError."""
    with without_values():
        return WorldModel(config)


def build_pretrained(config: WorldModelConfig, pretrained: PretrainedConfig) -> WorldModel:
    """The world model with the pretrained weights and action channels that change nothing yet.

    Args:
        config: must describe the pretrained model's sizes (see `WorldModelConfig.wan`); its seed draws what of the
            action channels is not zero.

    Raises:
        WovrError: no such source, or sizes that differ (the first is named).
        CorruptFileError: damaged files.
    """
    if config.wan is None or not (config.actions_in_time and config.actions_in_tokens):
        raise WovrError("pretrained weights need model.wan and both action channels")
    folder = locate(pretrained)
    _check_configs(config, folder)
    model = build_empty(config)
    dtype = getattr(torch, pretrained.dtype)
    text = fill(model.transformer, tensors(folder / "transformer"), folder / "transformer", dtype, TEXT, CHANNELS)
    fill(model.codec.net, tensors(folder / "vae"), folder / "vae", torch.float32)
    begin_unheard(model, padding_token(text), config.seed)
    return model.eval()


def _check_configs(config: WorldModelConfig, folder: Path) -> None:
    """What the shapes of the weights do not tell."""
    assert config.wan is not None
    codec = config.wan.codec
    wanted: dict[str, dict[str, Any]] = {
        "transformer": {"num_attention_heads": config.heads, "patch_size": [1, config.patch, config.patch]},
        "vae": {
            "is_residual": True,
            "patch_size": codec.patch,
            "temperal_downsample": list(codec.temporal_downsample),
            "latents_mean": list(codec.latents_mean),
            "latents_std": list(codec.latents_std),
        },
    }
    for part, values in wanted.items():
        path = folder / part / "config.json"
        found = read_json(path)
        for key, value in values.items():
            if key in found and found[key] != value:
                raise WovrError(f"{path}: {key} is {found[key]}, the recipe's model has {value}")


def padding_token(text: dict[str, torch.Tensor]) -> torch.Tensor:
    """What Wan's text embedder makes of padding, which is zero: (D,). Linear, tanh GELU, Linear."""
    try:
        hidden = nn.functional.gelu(text["linear_1.bias"].float(), approximate="tanh")
        return text["linear_2.weight"].float() @ hidden + text["linear_2.bias"].float()
    except KeyError as error:
        raise WovrError(f"the pretrained transformer has no text embedder ({error} is missing)") from error


def begin_unheard(model: WorldModel, token: torch.Tensor, seed: int) -> None:
    """Draw the action channels, float32, so that no action changes the output: last layers of zero weight."""
    embedder: Any = model.transformer.condition_embedder
    generator = torch.Generator().manual_seed(seed)
    for channel, bias in ((embedder.action_time, None), (embedder.action_tokens, token)):
        channel.to_empty(device="cpu")
        channel.float()
        first, last = channel[0], channel[2]
        nn.init.normal_(first.weight, std=first.in_features**-0.5, generator=generator)
        nn.init.zeros_(first.bias)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.zero_() if bias is None else last.bias.copy_(bias)
