"""Environment steps a second, each with its frame, against LIBERO's own vector environment; creation and resets."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from apps.bench import Row, row, stock_libero
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.pool import EnvPool
from wovr_core.types import ACTION_DIM, FloatArray, Frames

BURST = 20
"""Steps that each side takes in its turn."""


def run(
    suites: Sequence[str] = ("libero_object",),
    task: int = 0,
    processes: Sequence[int] = (1, 2),
    size: int = 128,
    bursts: int = 4,
    creation: bool = True,
) -> list[Row]:
    """Rows of ours beside stock's.

    Steps: both sides begin at LIBERO's evaluation states 0, 1, ..., take the same seeded random actions and hand
    every frame to this process. They take turns of BURST steps, so that a busy machine slows both. Stock is
    SubprocVectorEnv of OffScreenRenderEnv with the camera agentview alone; both draw at `size`.

    Creation: of the first environment of a process, imports included, with our caches empty and filled; of a
    second one in it. Reset: a new start (stock builds the model anew). Restore: back to a saved state.
    """
    rows = []
    for suite in suites:
        for count in processes:
            ours, stock = _steps(suite, task, count, size, bursts)
            name = f"{suite} {size} px, {count} process{'es' if count > 1 else ''}"
            rows.append(row(name, ours, "steps/s", stock))
        rows += _parts(suite, task, size)
        if creation:
            rows += _creation(suite, task, size)
    return rows


@dataclass(frozen=True)
class Burst:
    """Some steps of one environment. Each worker keeps the environment where its last burst left it."""

    env: LiberoConfig
    task: int
    index: int
    """Which evaluation state the first burst begins at; bursts of one index go to one worker."""
    first: bool
    actions: FloatArray
    """(T, 7)"""


def play(envs: EnvCache, job: Burst) -> Frames:
    """(T, H, W, 3). For EnvPool.map."""
    env = envs.get(job.env, job.task)
    if job.first:
        env.reset_to_initial(job.index)
    return np.stack([env.step(action).frame for action in job.actions]) if len(job.actions) else env.frame()[None]


def _steps(suite: str, task: int, count: int, size: int, bursts: int) -> tuple[float, float]:
    """Steps/s of ours and of stock's, over all processes."""
    config = LiberoConfig(suite=suite, size=size)
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (bursts, BURST, count, ACTION_DIM)).astype(np.float32)
    ours = stock = 0.0
    with EnvPool(count) as pool, stock_libero.process(stock_libero.vector, suite, task, count, size) as other:
        stock_libero.answer(other)
        for turn in range(-1, bursts):
            mine = [Burst(config, task, i, turn < 0, actions[turn, : BURST * (turn >= 0), i]) for i in range(count)]
            begin = time.perf_counter()
            for frames in pool.map(play, mine, key=lambda job: job.index):
                assert frames.shape[1:] == (size, size, 3)
            if turn < 0:  # builds and resets
                continue
            ours += time.perf_counter() - begin
            other.send(actions[turn])
            stock += stock_libero.answer(other)
    steps = bursts * BURST * count
    return steps / ours, steps / stock


def _parts(suite: str, task: int, size: int) -> list[Row]:
    """What one of our steps is made of, in this process."""
    env = LiberoEnv(LiberoConfig(suite=suite, size=size), task)
    env.reset_to_initial(0)
    start = env.sim_state()
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (40, ACTION_DIM)).astype(np.float32)
    spent = {"physics": 0.0, "physics, control and predicate": 0.0, "frame": 0.0, "simulator state": 0.0}

    def timed(name: str, call: object, *arguments: object) -> None:
        begin = time.perf_counter()
        call(*arguments)  # type: ignore[operator]
        spent[name] += time.perf_counter() - begin

    def physics_alone() -> None:
        for _ in range(25):
            env._mujoco.mj_step(env.model, env.data)

    for action in actions:
        timed("physics, control and predicate", env.advance, action)
        timed("frame", env.frame)
        timed("simulator state", env.sim_state)
    env.restore(start)
    for _ in actions:
        timed("physics", physics_alone)
    env.close()
    return [row(f"{suite} one step: {name}", 1e3 * total / len(actions), "ms") for name, total in spent.items()]


def _creation(suite: str, task: int, size: int) -> list[Row]:
    with stock_libero.process(stock_libero.single, suite, task, size) as other:
        stock = stock_libero.answer(other)
    with tempfile.TemporaryDirectory() as empty:
        cold = _ours(suite, task, size, empty)
    warm = _ours(suite, task, size, None)
    rows = [
        row(f"{suite} create, caches empty", cold["first"], "s", stock["first"]),
        row(f"{suite} create, first of a process", warm["first"], "s", stock["first"]),
        row(f"{suite} create, another task, same process", warm["other"], "s", stock["second"]),
        row(f"{suite} create, same task, same process", warm["second"], "s", stock["second"]),
        row(f"{suite} reset", warm["reset"], "s", stock["reset"]),
        row(f"{suite} restore", warm["restore"], "s", stock["restore"]),
    ]
    for entry in rows:  # of times the smaller is the better: tell how many times
        entry["ratio"] = entry["baseline"] / entry["value"] if entry["baseline"] else None
    return rows


def _ours(suite: str, task: int, size: int, home: str | None) -> dict[str, float]:
    with stock_libero.process(_single, suite, task, size, home) as other:
        return dict(stock_libero.answer(other))


def _single(connection: Connection, suite: str, task: int, size: int, home: str | None) -> None:
    """As `stock_libero.single`, of ours; `home` is where caches are, if not in their place."""
    if home is not None:
        os.environ["WOVR_HOME"] = home
    config = LiberoConfig(suite=suite, size=size)
    times, state = {}, np.empty(0)
    begin = time.perf_counter()
    env = LiberoEnv(config, task)
    env.reset(0)
    times["first"] = time.perf_counter() - begin
    state = env.sim_state()
    for name, call in (
        ("other", lambda: LiberoEnv(config, (task + 1) % 10).reset(0)),
        ("second", lambda: LiberoEnv(config, task).reset(0)),
        ("reset", lambda: env.reset(1)),
        ("restore", lambda: env.restore(state)),
    ):
        begin = time.perf_counter()
        call()
        times[name] = time.perf_counter() - begin
    connection.send(("times", times))
