"""A published OpenVLA-OFT checkpoint in miniature: its names, its layout, few numbers."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from wovr_core.policy.openvla_oft.policy import OpenVLAOFTConfig
from wovr_core.policy.openvla_oft.vision import TowerConfig, VisionConfig

DINO, SIGLIP = TowerConfig(16, 3, 2, 64), TowerConfig(12, 3, 2, 20)
CONFIG = OpenVLAOFTConfig(
    vision=VisionConfig(image_size=28, patch=14, dino=DINO, siglip=SIGLIP, crop=1.0),
    width=24, layers=2, heads=2, hidden=40, vocabulary=300, padded=304, last_prompt_token=7,
)  # fmt: skip
STATISTICS = {"q01": [-0.9, -0.5, -0.8, -0.1, -0.2, -0.3, 0.0], "q99": [0.8, 0.6, 0.9, 0.1, 0.2, 0.3, 1.0],
              "mask": [True] * 6 + [False]}  # fmt: skip
WORDS = "in what action should the robot take to out pick up soup place it basket please".split()  # noqa: SIM905


def vit(prefix: str, tower: TowerConfig, scaled: bool) -> dict[str, tuple[int, ...]]:
    d, shapes = tower.width, {}
    for i in range(tower.layers):
        block = {"norm1.weight": (d,), "norm1.bias": (d,), "norm2.weight": (d,), "norm2.bias": (d,)}
        block |= {"attn.qkv.weight": (3 * d, d), "attn.qkv.bias": (3 * d,)}
        block |= {"attn.proj.weight": (d, d), "attn.proj.bias": (d,)}
        block |= {"mlp.fc1.weight": (tower.hidden, d), "mlp.fc1.bias": (tower.hidden,)}
        block |= {"mlp.fc2.weight": (d, tower.hidden), "mlp.fc2.bias": (d,)}
        block |= {"ls1.scale_factor": (d,), "ls2.scale_factor": (d,)} if scaled else {}
        shapes |= {f"{prefix}.blocks.{i}.{name}": shape for name, shape in block.items()}
    shapes |= {f"{prefix}.norm.weight": (d,), f"{prefix}.norm.bias": (d,), f"{prefix}.pos_embed": (1, 4, d)}
    return shapes | {f"{prefix}.patch_embed.proj.weight": (d, 3, 14, 14), f"{prefix}.patch_embed.proj.bias": (d,)}


def published_shapes() -> dict[str, tuple[int, ...]]:
    d, joined = 24, 28
    shapes = vit("vision_backbone.featurizer", DINO, True) | vit("vision_backbone.fused_featurizer", SIGLIP, False)
    shapes |= {"vision_backbone.featurizer.cls_token": (1, 1, 16), "vision_backbone.featurizer.reg_token": (1, 4, 16)}
    shapes |= {"vision_backbone.fused_featurizer.attn_pool.latent": (1, 1, 12)}
    shapes |= {"projector.fc1.weight": (4 * joined, joined), "projector.fc1.bias": (4 * joined,)}
    shapes |= {"projector.fc2.weight": (d, 4 * joined), "projector.fc2.bias": (d,)}
    shapes |= {"projector.fc3.weight": (d, d), "projector.fc3.bias": (d,)}
    for i in range(2):
        p = f"language_model.model.layers.{i}"
        shapes |= {f"{p}.self_attn.{n}_proj.weight": (d, d) for n in "qkvo"}
        shapes |= {f"{p}.mlp.gate_proj.weight": (40, d), f"{p}.mlp.up_proj.weight": (40, d)}
        shapes |= {f"{p}.mlp.down_proj.weight": (d, 40)}
        shapes |= {f"{p}.input_layernorm.weight": (d,), f"{p}.post_attention_layernorm.weight": (d,)}
    shapes |= {"language_model.model.embed_tokens.weight": (304, d), "language_model.model.norm.weight": (d,)}
    return shapes | {"language_model.lm_head.weight": (304, d)}


def write_published(path: Path) -> Path:
    """Two shards and an index, statistics, a tokenizer of a few words that begins with BOS = 1, into a folder."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published_shapes().items():
        scale = 1.5 * math.prod(shape[1:]) ** -0.5 if len(shape) == 2 else 0.3
        state[name] = scale * torch.randn(shape, generator=generator) + (
            1 if "norm" in name and "weight" in name else 0
        )
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({n: state[n] for n in part}, path / shard)
    index = {"weight_map": {n: shard for shard, part in shards.items() for n in part}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "dataset_statistics.json").write_text(json.dumps({"libero_object_no_noops": {"action": STATISTICS}}))
    vocabulary = (
        {"<unk>": 0, "<s>": 1, "?": 2, ":": 3} | {w: 8 + i for i, w in enumerate(WORDS)} | {"In": 40, "Out": 41}
    )
    tokenizer = Tokenizer(models.WordLevel(vocabulary | {"What": 42}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(path / "tokenizer.json"))
    return path
