"""The action-conditioned model from the pretrained text-to-video Wan, in diffusers' format: a local folder or a hub id.

What is the same is taken over; the text embedder makes room for the two action channels, which begin so that the
model computes, whatever the actions, what the pretrained one does for an empty text: the actions' share of the time
embedding is zero, and every action token is the token that Wan has for text padding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from wovr_core.errors import CorruptFileError, MissingDependencyError, WovrError
from wovr_core.files import read_json
from wovr_core.world_model.model import WorldModel, WorldModelConfig

TEXT = "condition_embedder.text_embedder."
CHANNELS = ("condition_embedder.action_time.", "condition_embedder.action_tokens.")
INDEX = "diffusion_pytorch_model.safetensors.index.json"


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


def tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a diffusers model's folder, one at a time, shard by shard.

    Raises:
        CorruptFileError: a shard is missing or damaged, or a tensor stands in two of them.
    """
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(f"{index} is no index of shards: {error}") from error
    else:
        names = ["diffusion_pytorch_model.safetensors"]
    seen: set[str] = set()
    for name in names:
        path = folder / Path(name).name  # an index names files beside it, nothing else
        if not path.is_file():
            raise CorruptFileError(f"{path} is missing")
        try:
            with safe_open(path, framework="pt") as shard:
                for key in shard.keys():  # noqa: SIM118  # no mapping
                    if key in seen:
                        raise CorruptFileError(f"{path}: tensor {key} stands in an earlier shard, too")
                    seen.add(key)
                    yield key, shard.get_tensor(key)
        except SafetensorError as error:
            raise CorruptFileError(f"{path} cannot be read: {error}") from error


def build_empty(config: WorldModelConfig) -> WorldModel:
    """The model without values (parameters on the meta device, buffers real): nothing is drawn, nothing takes memory.

    Raises:
        MissingDependencyError: accelerate is not installed.
    """
    try:
        from accelerate import init_empty_weights
    except ImportError as error:
        raise MissingDependencyError("large models need accelerate: pip install 'wovr-workbench[large]'") from error
    with init_empty_weights(include_buffers=False):
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


def fill(
    module: nn.Module,
    source: Iterator[tuple[str, torch.Tensor]],
    where: Path,
    dtype: torch.dtype | None,
    drop: str = "",
    keep: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """Give an empty module its values, tensor by tensor.

    Args:
        dtype: of the values; None leaves each as it is.
        drop: tensors with this prefix are not the module's: they are returned.
        keep: parameters with these prefixes may be absent in the source.

    Raises:
        WovrError: a tensor of another shape, or one too many or too few.
    """
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    dropped: dict[str, torch.Tensor] = {}
    for name, tensor in source:
        if drop and name.startswith(drop):
            dropped[name.removeprefix(drop)] = tensor
            continue
        if wanted.get(name) != tuple(tensor.shape):
            here = f"wants {wanted[name]}" if name in wanted else "has no such tensor"
            raise WovrError(f"{where}: {name} is {tuple(tensor.shape)}, the recipe's model {here}")
        del wanted[name]
        _assign(module, name, tensor.to(dtype or tensor.dtype))
    missing = [name for name in wanted if not name.startswith(keep or ("\0",))]
    if missing:
        raise WovrError(f"{where} lacks {len(missing)} tensors of the recipe's model, the first is {missing[0]}")
    return dropped


def _assign(module: nn.Module, name: str, value: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        setattr(owner, leaf, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(owner, leaf, value.to(old.dtype))


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
