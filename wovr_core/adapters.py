"""Low-rank adapters (LoRA, arXiv 2106.09685) on a frozen network, by peft: train them and few parts beside them.

freeze, add      add_adapters(transformer, config, seed)
train            trainable(transformer).state_dict() is all that a checkpoint needs
merge            merge_adapters(transformer): the plain model again, its keys as before
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wovr_core.errors import CheckpointMismatchError, MissingDependencyError, WovrError
from wovr_core.seeding import global_draws

NEW_CHANNELS = ("action_time", "action_tokens", "null_token", "positions")


@dataclass(frozen=True)
class LoRAConfig:
    rank: int = 32
    alpha: int = 32
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
    """Ends of the names of the linear layers that get an adapter."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise WovrError("lora.rank must be at least 1, and lora.targets must name a layer")


def add_adapters(module: nn.Module, config: LoRAConfig, seed: int, keep: tuple[str, ...] = NEW_CHANNELS) -> None:
    """Freeze the module but what `keep` names, and add adapters that change nothing yet.

    Args:
        keep: parts of parameter names that train in full.

    Raises:
        MissingDependencyError: peft is not installed.
        WovrError: no layer has a target's name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingDependencyError("adapters need peft; run: pip install 'wovr-workbench[large]'") from error
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets))
    with global_draws(seed):
        try:
            inject_adapter_in_model(settings, module)
        except ValueError as error:
            layers = sorted({n.rpartition(".")[2] for n, m in module.named_modules() if isinstance(m, nn.Linear)})
            raise WovrError(
                f"no layer is named by lora.targets {list(config.targets)}; those of this network end in "
                f"{', '.join(layers)}"
            ) from error
    for name, parameter in module.named_parameters():
        parts = name.split(".")
        parameter.requires_grad_("lora_A" in parts or "lora_B" in parts or any(part in parts for part in keep))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def merge_adapters(module: nn.Module) -> None:
    """Add the adapters' products to the layers beneath and take the adapters away."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in [(n, m) for n, m in module.named_modules() if isinstance(m, BaseTunerLayer)]:
        layer.merge(safe_merge=True)
        path, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(path), leaf, layer.get_base_layer())
    module.requires_grad_(True)


class trainable:  # reads as a function: trainable(module).state_dict()
    """A module's trained parameters as a state: what a frozen base of gigabytes need not be saved again for."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self.parameters().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any:
        """Raises CheckpointMismatchError when the names differ."""
        own = self.parameters()
        differing = sorted(set(own) ^ set(state))
        if differing:
            raise CheckpointMismatchError(f"the saved adapters are another model's: {differing[0]} is on one side only")
        for name, parameter in own.items():
            parameter.copy_(state[name])
