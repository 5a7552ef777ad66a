"""An exponential moving average of weights: what is evaluated and imagined with, smoother than the last step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class Ema:
    """Averages the trained floating-point parameters of a module; buffers and frozen ones are excluded.

    The decay grows with the steps seen, min(decay, (1 + n) / (10 + n)), so that the random start is forgotten soon.
    """

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        self.decay = decay
        self.steps = 0
        self.average = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        parameters = dict(module.named_parameters())
        torch._foreach_lerp_(list(self.average.values()), [parameters[k] for k in self.average], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the average into the module's parameters."""
        parameters = dict(module.named_parameters())
        for name, average in self.average.items():
            parameters[name].copy_(average)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that resuming needs, tensors only."""
        return {**self.average, "__steps__": torch.tensor(self.steps)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `state_dict`; raises KeyError when a parameter is missing."""
        self.steps = int(state["__steps__"])
        for name, average in self.average.items():
            average.copy_(state[name])
