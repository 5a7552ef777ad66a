"""A perceptual distance by the features of a fixed random convolutional network: *not* LPIPS, and not to be named so.

LPIPS (Zhang et al., arXiv 1801.03924) compares unit-normalised features of a network trained on photographs. Weights
of that kind are not to be had here; it is known that untrained convolutional features already follow perceived
similarity better than pixels do (same paper, "random" baselines). This one is drawn from a fixed seed, so that its
values can be compared between runs and machines, though not with any published LPIPS.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.seeding import global_draws
from wovr_core.types import Frames

_SEED = 20260213
_WIDTHS = (32, 64, 96)


@lru_cache(maxsize=1)
def _layers() -> tuple[nn.Conv2d, ...]:
    with global_draws(_SEED):
        sizes = (3, *_WIDTHS)
        convolutions = [nn.Conv2d(a, b, 5, 2, 2, bias=False) for a, b in itertools.pairwise(sizes)]
        for convolution in convolutions:
            nn.init.orthogonal_(convolution.weight)
    return tuple(c.requires_grad_(False) for c in convolutions)


@torch.no_grad()
def random_feature_distance(a: Frames, b: Frames) -> float:
    """Mean squared difference of unit-normalised features over three scales; 0 for equal frames (N, H, W, 3)."""
    x, y = (torch.from_numpy(f.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1 for f in (a, b))
    total = 0.0
    for layer in _layers():
        x, y = F.relu(layer(x)), F.relu(layer(y))
        unit_x, unit_y = F.normalize(x, dim=1, eps=1e-6), F.normalize(y, dim=1, eps=1e-6)
        total += float((unit_x - unit_y).square().sum(dim=1).mean())
    return total / len(_WIDTHS)
