"""OpenVLA's actions: 256 token ids at the end of the vocabulary, quantile ranges, and a gripper of its own convention.

A normalised action in [-1, 1] falls between 256 even edges; the token counts down from the vocabulary's end as the
value rises, so the last id means -1. The ranges are the dataset's 1st and 99th percentile, but for masked dimensions
(the gripper), which stay as they are: 0 closed, 1 open. An environment wants -1 open, +1 closed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wovr_core.errors import CorruptFileError, UnknownNameError, WovrError
from wovr_core.types import ACTION_DIM

BINS = 256


@dataclass(frozen=True)
class ActionStatistics:
    """Ranges of a dataset's actions, by dimension."""

    q01: tuple[float, ...] = (-1.0,) * ACTION_DIM
    q99: tuple[float, ...] = (1.0,) * ACTION_DIM
    mask: tuple[bool, ...] = (True,) * (ACTION_DIM - 1) + (False,)
    """Which dimensions are normalised."""

    def __post_init__(self) -> None:
        if not len(self.q01) == len(self.q99) == len(self.mask) == ACTION_DIM:
            raise WovrError(f"action statistics need {ACTION_DIM} values of q01, q99 and mask")
        if any(low >= high for low, high, used in zip(self.q01, self.q99, self.mask, strict=True) if used):
            raise WovrError("action statistics: q99 must be above q01 in every normalised dimension")


def read_statistics(path: Path, key: str = "") -> ActionStatistics:
    """From `dataset_statistics.json`: of the dataset `key`, which may be left out if there is only one.

    Raises:
        CorruptFileError: no such file, or another layout.
        UnknownNameError: no such dataset (a suffix `_no_noops` is tried, too).
    """
    try:
        found = json.loads(path.read_text())
        names = [name for name, value in found.items() if isinstance(value, Mapping) and "action" in value]
    except (OSError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{path} cannot be read as statistics: {error}") from error
    chosen = names[0] if not key and len(names) == 1 else key if key in names else f"{key}_no_noops"
    if chosen not in names:
        raise UnknownNameError(f"dataset in {path}:", key or "(none named)", names)
    action: dict[str, Any] = found[chosen]["action"]
    try:
        low, high = tuple(map(float, action["q01"])), tuple(map(float, action["q99"]))
        mask = tuple(map(bool, action.get("mask", [True] * len(low))))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path}: {chosen} has no usable q01 and q99: {error}") from error
    if not len(low) == len(high) == len(mask) or not all(map(math.isfinite, [*low, *high])):
        raise CorruptFileError(f"{path}: {chosen} has q01, q99 and mask of different lengths, or no finite numbers")
    return ActionStatistics(low, high, mask)


class ActionTokens:
    """Between bin numbers 0-255 (ascending token ids) and environment actions."""

    def __init__(self, statistics: ActionStatistics) -> None:
        edges = torch.linspace(-1, 1, BINS, dtype=torch.float64)
        self._edges = edges
        self._centres = (edges[:-1] + edges[1:]) / 2  # 255
        self._low = torch.tensor(statistics.q01, dtype=torch.float64)
        self._range = torch.tensor(statistics.q99, dtype=torch.float64) - self._low + 1e-8
        self._mask = torch.tensor(statistics.mask)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., A) bin numbers -> (..., A) float32 environment actions."""
        place = (BINS - 1 - tokens.cpu()).clamp(0, BINS - 2)  # the two lowest ids share a centre, as published
        value = self._centres[place]
        value = torch.where(self._mask, 0.5 * (value + 1) * self._range + self._low, value)
        opened = torch.sign(2 * value[..., -1:] - 1)
        return torch.cat([value[..., :-1], -opened], dim=-1).float().to(tokens.device)

    def encode(self, actions: torch.Tensor) -> torch.Tensor:
        """(..., A) environment actions -> (..., A) int64 bin numbers."""
        value = actions.detach().cpu().double()
        value = torch.cat([value[..., :-1], (1 - torch.sign(value[..., -1:])) / 2], dim=-1)
        value = torch.where(self._mask, 2 * (value - self._low) / self._range - 1, value).clamp(-1, 1)
        place = torch.searchsorted(self._edges, value.contiguous(), right=True)  # 1 to 256
        return (BINS - place.clamp(1, BINS)).to(actions.device)
