"""Frames per second and likeness of the fast profile against stock LIBERO."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from apps.bench import Row, row
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.pictures import ssim
from wovr_core.types import ACTION_DIM


def run(
    suites: Sequence[str] = ("libero_object",),
    sizes: Sequence[int] = (64, 128, 256),
    tasks: Sequence[int] = (0,),
    view: str = "full",
    states: int = 5,
    seconds: float = 2.0,
) -> list[Row]:
    """Frames/s of both profiles and the SSIM of their pictures, per suite and size.

    Both profiles draw the same simulator states, spread over a random motion of the arm; each is timed for
    about `seconds`, in turns, so that a busy machine slows both. The time is that of drawing and reading one
    frame; physics are not in it.
    """
    rows = []
    for suite in suites:
        for size in sizes:
            speeds, likeness = [], []
            for task in tasks:
                fast, stock, similar = _compare(suite, task, size, view, states, seconds)
                speeds.append((fast, stock))
                likeness.append(similar)
            fast, stock = np.mean(speeds, axis=0)
            rows.append(row(f"{suite} {size} px", float(fast), "frames/s", float(stock)))
            rows.append(row(f"{suite} {size} px likeness", float(np.mean(likeness)), "SSIM"))
    return rows


def _compare(suite: str, task: int, size: int, view: str, states: int, seconds: float) -> tuple[float, float, float]:
    """Frames/s fast and stock, and the mean SSIM over the states."""
    fast = LiberoEnv(LiberoConfig(suite=suite, size=size, view=view), task)
    stock = LiberoEnv(LiberoConfig(suite=suite, size=size, view=view, profile="reference"), task)
    generator = np.random.default_rng(0)
    stock.reset(0)
    fast.reset(0)
    spent = {"fast": 0.0, "stock": 0.0}
    drawn = {"fast": 0, "stock": 0}
    likeness = []
    for _ in range(states):
        push = generator.uniform(-1, 1, ACTION_DIM).astype(np.float32)
        for _ in range(8):
            fast.advance(push)
        state = fast.sim_state()
        likeness.append(ssim(fast.restore(state), stock.restore(state)))
        for name, env in (("fast", fast), ("stock", stock)):
            begin = time.perf_counter()
            while time.perf_counter() - begin < seconds / states:
                env.frame()
                drawn[name] += 1
            spent[name] += time.perf_counter() - begin
    fast.close()
    stock.close()
    return drawn["fast"] / spent["fast"], drawn["stock"] / spent["stock"], float(np.mean(likeness))
