"""Will it fit, and how long will it take? Counted from the model itself, before anything is downloaded or trained.

Parameters are counted on the empty model, adapters included. Activations follow Korthikanti et al. (arXiv 2205.05198):
about 34 bytes per token and unit of width in a block. Work is two operations per weight and token, attention beside
it, three times forward for training, four with activations computed again; attained speed is a share of the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from wovr_core.adapters import LoRAConfig, add_adapters
from wovr_core.errors import WovrError
from wovr_core.stages.train_world_model import LargeTraining, WorldModelTrainingConfig
from wovr_core.world_model.model import CONTEXT_LATENTS, WorldModelConfig
from wovr_core.world_model.pretrained import build_empty

LATENTS = CONTEXT_LATENTS + 2
UTILISATION = 0.35
"""Share of a GPU's peak that training attains: cautious."""
PEAK_TFLOPS = {"H100": 990.0, "H200": 990.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0, "3090": 71.0, "A10": 125.0}
"""bf16 multiplication, dense, by a part of the device's name."""
DEFAULT_TFLOPS = 100.0
HEADROOM = 0.92
"""Share of a GPU's memory to count on: fragments and the driver take the rest."""


@dataclass(frozen=True)
class Preflight:
    """For each process, in bytes; and in seconds."""

    parameters: int
    """Of the transformer."""
    trained: int
    """Of them, those that learn."""
    weights: int
    gradients: int
    optimizer: int
    average: int
    codec: int
    activations: int
    processes: int
    operations: float
    """Of a step, per process."""
    step_seconds: float
    hours: float
    memory: int | None = None
    """Of the GPU, where known."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.codec + self.activations

    @property
    def fits(self) -> bool | None:
        """None where the GPU's memory is not known."""
        return None if self.memory is None else self.total <= HEADROOM * self.memory

    def require(self) -> None:
        """Raises WovrError when it does not fit."""
        if self.fits is False:
            assert self.memory is not None
            raise WovrError(
                f"training needs about {self.total / 2**30:.0f} GiB on each GPU, which has {self.memory / 2**30:.0f}: "
                "train adapters (--set 'world_model.transformer.large.lora.rank=32' and "
                "'world_model.pretrained.dtype=bfloat16'), use more GPUs, or the recipe gpu24"
            )

    def lines(self) -> list[str]:
        """For people."""
        gib = {name: getattr(self, name) / 2**30 for name in _PARTS}
        parts = ", ".join(f"{name} {value:.1f}" for name, value in gib.items())
        verdict = {None: "no GPU here to compare with", True: "fits", False: "DOES NOT FIT"}[self.fits]
        return [
            f"transformer: {self.parameters / 1e6:,.0f} M parameters, {self.trained / 1e6:,.0f} M of them trained",
            f"memory on each of {self.processes}: {self.total / 2**30:.1f} GiB ({parts}): {verdict}",
            f"time: {self.step_seconds:.2f} s a step, {self.hours:.1f} h in all (the autoencoder's share not counted)",
        ]


_PARTS = ("weights", "gradients", "optimizer", "average", "codec", "activations")


@lru_cache(maxsize=4)
def _sizes(model: WorldModelConfig, lora: LoRAConfig | None) -> tuple[int, int, int]:
    """Parameters of the transformer, those of them that learn, and bytes of the codec. The skeleton that they are
    counted on takes seconds to build, and is let go."""
    built = build_empty(model)
    if lora:
        add_adapters(built.transformer, lora, seed=0)
    parameters = [(p.numel(), p.requires_grad) for p in built.transformer.parameters()]
    codec = sum(t.numel() * t.element_size() for t in built.codec.state_dict().values())
    return sum(n for n, _ in parameters), sum(n for n, learns in parameters if learns), codec


def preflight(
    config: WorldModelTrainingConfig, processes: int = 1, memory: int | None = None, tflops: float | None = None
) -> Preflight:
    """Count.

    Args:
        processes: GPUs.
        memory: bytes of each; asked of the GPU here if not given.
        tflops: bf16 peak of each; by the name of the GPU here if not given.
    """
    training = config.transformer
    large = training.large or LargeTraining(checkpointing=False, shard=False)
    parameters, trained, codec = _sizes(config.model, large.lora)
    base = 2 if config.pretrained and config.pretrained.dtype == "bfloat16" else 4
    parts = processes if large.shard else 1
    stored = trained * 4 + (parameters - trained) * base

    width, layers = config.model.heads * config.model.head_dim, config.model.layers
    tokens = LATENTS * (config.model.latent_side // config.model.patch) ** 2 * training.batch
    block = 34 * width * tokens
    activations = block + 2 * width * tokens * layers if large.checkpointing else block * layers
    # Autocast keeps bf16 copies of the weights it uses: all of them, or one block's where blocks are gathered singly.
    copies = 0 if base == 2 else 2 * parameters // (layers if large.checkpointing and parts > 1 else 1)

    attention = 4 * layers * (tokens // training.batch) * tokens * width
    forward = 2 * parameters * tokens + attention
    backward = 2 if trained == parameters else 1.3  # beneath adapters there are no gradients of weights
    operations = forward * (1 + backward + (1 if large.checkpointing else 0)) * large.shares
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = tflops or next((value for part, value in PEAK_TFLOPS.items() if part in name), DEFAULT_TFLOPS)
    seconds = operations / (peak * 1e12 * UTILISATION)
    if memory is None and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
    return Preflight(
        parameters=parameters,
        trained=trained,
        weights=stored // parts + copies,
        gradients=4 * trained // parts,
        optimizer=8 * trained // parts,
        average=4 * trained // parts,
        codec=codec,
        activations=activations,
        processes=processes,
        operations=operations,
        step_seconds=seconds,
        hours=seconds * training.steps / 3600,
        memory=memory,
    )
