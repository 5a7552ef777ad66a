"""Statistics as LeRobot keeps them: per episode in meta/episodes, over all in meta/stats.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Stats = dict[str, npt.NDArray[np.float64]]
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_PICTURES = 16
"""Pictures of an episode that its statistics are taken of."""


def episode_stats(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, Stats]:
    """Feature -> min, max, mean, std, count and quantiles over the episode.

    Numbers (T,) or (T, D) give (D,) each; pictures u8 (T, H, W, 3) give (3, 1, 1) in units of 1, as LeRobot has it.
    """
    found = {}
    for name, values in columns.items():
        pictures = values.ndim == 4
        if pictures:
            chosen = np.unique(np.linspace(0, len(values) - 1, _PICTURES).astype(int))
            flat = values[chosen].reshape(-1, 3).astype(np.float64) / 255
        else:
            flat = values.reshape(len(values), -1).astype(np.float64)
        stats = {"min": flat.min(0), "max": flat.max(0), "mean": flat.mean(0), "std": flat.std(0)}
        levels = np.quantile(flat, list(_QUANTILES.values()), axis=0)
        stats |= dict(zip(_QUANTILES, levels, strict=True))
        if pictures:
            stats = {key: value.reshape(3, 1, 1) for key, value in stats.items()}
        found[name] = stats | {"count": np.array([len(values)], np.float64)}
    return found


def merge_stats(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, dict[str, list[Any]]]:
    """Over all episodes: exact but for quantiles, which are averaged by length, as LeRobot does; JSON-ready."""
    merged: dict[str, dict[str, list[Any]]] = {}
    for name in episodes[0]:
        parts = [episode[name] for episode in episodes]
        count = np.array([part["count"][0] for part in parts])
        share = (count / count.sum()).reshape(-1, *([1] * parts[0]["mean"].ndim))
        stacked = {key: np.stack([part[key] for part in parts]) for key in parts[0] if key != "count"}
        mean = (stacked["mean"] * share).sum(0)
        spread = stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2
        result = {key: (stacked[key] * share).sum(0) for key in _QUANTILES}
        result |= {"min": stacked["min"].min(0), "max": stacked["max"].max(0), "mean": mean,
                   "std": np.sqrt((spread * share).sum(0))}  # fmt: skip
        merged[name] = {key: value.tolist() for key, value in result.items()} | {"count": [int(count.sum())]}
    return merged
