"""Success of the scripted expert, without noise and faults, per task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apps.bench import Row, row
from wovr_core.envs.expert.demonstrations import ExpertConfig, NoiseConfig, run_expert_episode
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.statistics import format_rate

FIRST_SEED = 1_000_000
"""Starts of the bench: seeds apart from those that data sets are collected with."""


def run(
    suite: str = "libero_object", tasks: Sequence[int] = tuple(range(10)), starts: int = 10, noise: float = 0.0
) -> list[Row]:
    """Success rate over `starts` seeded starts of each task, its 95 % Wilson interval, and the mean number of
    steps to the first success. `noise` is the deviation of both parts of the action noise (0: clean)."""
    config = ExpertConfig(noise=NoiseConfig(gaussian=noise, drift=noise), after_success=0)
    rows = []
    for task in tasks:
        env = LiberoEnv(LiberoConfig(suite=suite, size=16), task)
        episodes = [run_expert_episode(env, FIRST_SEED + seed, config) for seed in range(starts)]
        env.close()
        lengths = [e.first_success for e in episodes if e.first_success is not None]
        name = f"{suite}/{task} {env.task.instruction}"
        rows.append(row(f"{name}: {format_rate(len(lengths), starts)}", len(lengths) / starts, "success"))
        if lengths:
            rows.append(row(f"{name}: to success", float(np.mean(lengths)), "steps"))
    return rows
