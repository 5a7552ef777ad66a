"""Published OpenVLA-OFT checkpoints (safetensors shards) into our policy, by their names; no code of theirs is run.

vision_backbone.featurizer.*        DINOv2, in timm's names
vision_backbone.fused_featurizer.*  SigLIP, in timm's names
projector.fc1 / fc2 / fc3
language_model.*                    Llama
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.foreign_weights import fill, tensors, without_values
from wovr_core.policy.openvla_oft.actions import read_statistics
from wovr_core.policy.openvla_oft.policy import OpenVLAOFT, OpenVLAOFTConfig

DINO, SIGLIP = "vision_backbone.featurizer.", "vision_backbone.fused_featurizer."

_DINO_BLOCK = {
    "norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.o_proj", "ls1": "layer_scale1", "ls2": "layer_scale2",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_SIGLIP_BLOCK = {
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj", "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_LAYER_SCALE = {"scale_factor": "lambda1", "gamma": "lambda1"}


def load_published(
    folder: Path, config: OpenVLAOFTConfig | None = None, unnorm_key: str = "", dtype: torch.dtype | None = None
) -> OpenVLAOFT:
    """A published checkpoint's folder.

    Args:
        config: its sizes; the 7B model's by default. Tokenizer and statistics are the folder's.
        unnorm_key: which dataset's action ranges, for example libero_spatial; not needed if there is one.
        dtype: of the weights; as they are stored if not given.

    Raises:
        WovrError: a tensor is missing, unexpected or of another shape (named), or no statistics of that name.
        CorruptFileError: a file is missing or damaged.
        MissingDependencyError: accelerate is not installed.
    """
    statistics = read_statistics(folder / "dataset_statistics.json", unnorm_key)
    tokenizer = folder.absolute() / "tokenizer.json"  # the checkpoint is used from wherever somebody works
    if not tokenizer.is_file():
        raise CorruptFileError(f"{tokenizer} is missing")
    config = replace(config or OpenVLAOFTConfig(), statistics=statistics, tokenizer=str(tokenizer))
    with without_values():
        policy = OpenVLAOFT(config)
    fill(policy, from_published(tensors(folder, "model"), config), folder, dtype)
    return policy.eval()


def from_published(
    source: Iterable[tuple[str, torch.Tensor]], config: OpenVLAOFTConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    """Published names and tensors -> ours. What the policy never computes with (each tower's last block and norm,
    SigLIP's pooling) is left out.

    Raises:
        WovrError: a name that is not OpenVLA-OFT's.
    """
    width = config.vision.dino.width
    for name, tensor in source:
        if name.startswith(SIGLIP):
            yield from _siglip(name.removeprefix(SIGLIP), tensor, config.vision.siglip.layers)
        elif name.startswith(DINO):
            yield from _dino(name.removeprefix(DINO), tensor, config.vision.dino.layers)
            if name == f"{DINO}pos_embed":  # of patches only: the class token has no position there
                place = "vision_backbone.featurizer.embeddings."
                yield f"{place}position_embeddings", torch.cat([tensor.new_zeros(1, 1, width), tensor], dim=1)
                yield f"{place}mask_token", tensor.new_zeros(1, width)  # of its training; not used
        elif name.startswith("projector."):
            yield f"vision_backbone.{name}", tensor
        elif name.startswith("language_model.model."):
            if not name.endswith("rotary_emb.inv_freq"):  # computed, not learned
                yield f"language_model.{name.removeprefix('language_model.model.')}", tensor
        elif name == "language_model.lm_head.weight":
            yield "lm_head.weight", tensor
        else:
            raise WovrError(f"{name} is no tensor of OpenVLA-OFT with discrete actions")


def _dino(name: str, tensor: torch.Tensor, layers: int) -> Iterator[tuple[str, torch.Tensor]]:
    ours = "vision_backbone.featurizer."
    plain = {
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    }
    if name in plain:
        yield ours + plain[name], tensor
    elif name not in ("pos_embed", "norm.weight", "norm.bias"):
        yield from _block(name, tensor, layers, f"{ours}encoder.layer", "attention", _DINO_BLOCK)


def _siglip(name: str, tensor: torch.Tensor, layers: int) -> Iterator[tuple[str, torch.Tensor]]:
    ours = "vision_backbone.fused_featurizer."
    if name == "pos_embed":
        yield f"{ours}embeddings.position_embedding.weight", tensor[0]
    elif name.startswith("patch_embed.proj."):
        yield f"{ours}embeddings.patch_embedding.{name.rpartition('.')[2]}", tensor
    elif not name.startswith("attn_pool.") and name not in ("norm.weight", "norm.bias"):
        yield from _block(name, tensor, layers, f"{ours}encoder.layers", "self_attn", _SIGLIP_BLOCK)


def _block(
    name: str, tensor: torch.Tensor, layers: int, ours: str, attention: str, parts: dict[str, str]
) -> Iterator[tuple[str, torch.Tensor]]:
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(\w+)", name)
    if not match or (match[2] not in parts and match[2] != "attn.qkv"):
        raise WovrError(f"{name} is no tensor of OpenVLA's vision towers")
    number, part, leaf = int(match[1]), match[2], match[3]
    if number == layers - 1:
        return  # the published model reads the features before its last block
    prefix = f"{ours}.{number}"
    if part == "attn.qkv":
        for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{prefix}.{attention}.{letter}_proj.{leaf}", piece.contiguous()
    else:
        yield f"{prefix}.{parts[part]}.{_LAYER_SCALE.get(leaf, leaf)}", tensor
