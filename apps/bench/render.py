"""Frames per second and likeness of the fast profile against stock LIBERO, for all four suites in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from apps.bench import Row, row
from wovr_core.envs.gl import OffscreenRenderer
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.pictures import ssim
from wovr_core.types import ACTION_DIM, Frames, StateArray

TASKS: dict[str, dict[str, tuple[int, ...]]] = {
    "libero_spatial": {"": (0, 7)},
    "libero_object": {"": (0, 5)},
    "libero_goal": {"": (3, 8)},
    "libero_10": {"kitchen": (2, 9), "living room": (0, 4), "study": (5,)},
}
"""Suite -> family of scenes -> tasks; every scene of LIBERO's four suites but repetitions with other objects."""


@dataclass
class _Sums:
    """What was measured of some pictures."""

    fast: list[float] = field(default_factory=list)
    """Seconds per frame, a median for each task."""
    stock: list[float] = field(default_factory=list)
    likeness: list[float] = field(default_factory=list)
    redraw: list[float] = field(default_factory=list)
    """Seconds for the first frame after something that stands still has moved."""

    def add(self, other: _Sums) -> None:
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.extend(theirs)


def run(
    tasks: Mapping[str, Mapping[str, Sequence[int]]] = TASKS,
    sizes: Sequence[int] = (64, 128, 256),
    view: str = "full",
    states: int = 3,
    seconds: float = 0.5,
) -> list[Row]:
    """Frames/s of both profiles and the SSIM of their pictures, per suite and size.

    Both profiles draw the same simulator states, spread over a random motion of the arm. Each is timed for about
    `seconds` per task and size, in turns, so that a busy machine slows both; a task's time is the median frame's,
    a suite's frames/s come from the mean of its tasks' times. The time is that of drawing and reading one frame;
    physics are not in it, nor the first frame after a reset, which has rows of its own. For suites of several
    families of scenes the least speed-up of any task is given too.
    """
    rows = []
    for suite, families in tasks.items():
        found = {
            (family, size): sums
            for family, numbers in families.items()
            for size, sums in _family(suite, numbers, sizes, view, states, seconds).items()
        }
        for size in sizes:
            total = _Sums()
            for family in families:
                total.add(found[family, size])
            name = f"{suite} {size} px"
            rows.append(row(name, 1 / float(np.mean(total.fast)), "frames/s", 1 / float(np.mean(total.stock))))
            slowest = min(stock / fast for fast, stock in zip(total.fast, total.stock, strict=True))
            rows.append(row(f"{name} least ratio of a task", slowest, "x"))
            rows.append(row(f"{name} likeness", float(np.mean(total.likeness)), "SSIM"))
            if len(families) > 1:
                rows += [
                    row(f"{name} likeness, {family}", float(np.mean(found[family, size].likeness)), "SSIM")
                    for family in families
                ]
            rows.append(row(f"{name} first frame after a reset", 1000 * float(np.mean(total.redraw)), "ms"))
    return rows


def _family(
    suite: str, tasks: Sequence[int], sizes: Sequence[int], view: str, states: int, seconds: float
) -> dict[int, _Sums]:
    """By size, over the tasks."""
    found = {size: _Sums() for size in sizes}
    for task in tasks:
        fast = LiberoEnv(LiberoConfig(suite=suite, size=16, view=view), task)
        stock = LiberoEnv(LiberoConfig(suite=suite, size=16, view=view, profile="reference"), task)
        motion = _motion(fast, states)
        for size in sizes:
            found[size].add(_compare(fast, stock, motion, size, seconds))
        fast.close()
        stock.close()
    return found


def _motion(env: LiberoEnv, states: int) -> list[StateArray]:
    """States spread over a random motion of the arm."""
    generator = np.random.default_rng(0)
    env.reset(0)
    found = []
    for _ in range(states):
        push = generator.uniform(-1, 1, ACTION_DIM).astype(np.float32)
        for _ in range(8):
            env.advance(push)
        found.append(env.sim_state())
    return found


def _compare(fast: LiberoEnv, stock: LiberoEnv, motion: Sequence[StateArray], size: int, seconds: float) -> _Sums:
    """Median seconds of a frame fast and stock, the mean SSIM over the states, seconds of the first fast frame."""
    renderers = (fast.make_renderer(size), stock.make_renderer(size))
    times: tuple[list[float], list[float]] = ([], [])
    likeness, first = [], 0.0
    for number, state in enumerate(motion):
        pictures: list[Frames] = []
        for env, renderer, spent in zip((fast, stock), renderers, times, strict=True):
            env.restore(state)
            began = time.perf_counter()
            pictures.append(renderer.render(env.data))
            if number == 0 and env is fast:
                first = time.perf_counter() - began
            spent.extend(_times(renderer, env, seconds / len(motion)))
        likeness.append(ssim(pictures[0], pictures[1]))
    for renderer in renderers:
        renderer.close()
    medians = [float(np.median(spent)) for spent in times]
    return _Sums([medians[0]], [medians[1]], [float(np.mean(likeness))], [first])


def _times(renderer: OffscreenRenderer, env: LiberoEnv, seconds: float) -> list[float]:
    """Seconds of each frame, for about so many seconds in all and at least two frames."""
    spent: list[float] = []
    while sum(spent) < seconds or len(spent) < 2:
        spent.append(_timed(lambda: renderer.render(env.data)))
    return spent


def _timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
