"""LIBERO's own environments, as a user of LIBERO runs them, in processes of their own: what benches compare with.

Each function here is the body of a fresh process, so that nothing of ours (thread counts, one OpenGL context,
patched settings) reaches stock code, but for the choice of EGL or OSMesa and where caches may be written.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from wovr_core.envs import gl, libero_suites
from wovr_core.types import NULL_ACTION


@contextlib.contextmanager
def process(body: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """A fresh process that runs `body(connection, *arguments)`, and our end of the connection; ended afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Not a daemon: LIBERO's vector environment has children of its own.
    child = context.Process(target=_silently, args=(body, theirs, *arguments))
    child.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        child.join(10)
        if child.is_alive():
            child.terminate()
            child.join()


def answer(connection: Connection) -> Any:
    """What the process says next. Raises RuntimeError with its own words if it failed."""
    try:
        kind, value = connection.recv()
    except EOFError:
        raise RuntimeError("the process of the bench died") from None
    if kind == "error":
        raise RuntimeError(value)
    return value


def vector(connection: Connection, suite: str, task: int, count: int, size: int) -> None:
    """`count` environments of LIBERO's SubprocVectorEnv: for each (n, A) f32 array of actions received per
    environment, as (steps, count, 7), the seconds that they and their frames took."""
    arguments = _arguments(suite, task, size)
    from libero.libero.envs import OffScreenRenderEnv, SubprocVectorEnv

    begin = time.perf_counter()
    envs = SubprocVectorEnv([partial(OffScreenRenderEnv, **arguments) for _ in range(count)])
    envs.seed(0)
    envs.reset()
    starts = libero_suites.evaluation_states(suite, task)[:count]
    envs.set_init_state(list(starts))
    for _ in range(10):
        envs.step(np.tile(NULL_ACTION, (count, 1)))
    connection.send(("ready", time.perf_counter() - begin))
    while True:
        actions = connection.recv()
        begin = time.perf_counter()
        for action in actions:
            observed = envs.step(action)[0]
        seconds = time.perf_counter() - begin
        assert observed[0]["agentview_image"].shape == (size, size, 3)
        connection.send(("seconds", seconds))


def single(connection: Connection, suite: str, task: int, size: int) -> None:
    """Seconds to make an environment in a fresh process, imports included; a second one; a reset; a state put in."""
    begin = time.perf_counter()
    arguments = _arguments(suite, task, size)
    from libero.libero.envs import OffScreenRenderEnv

    times = {}
    env = OffScreenRenderEnv(**arguments)
    env.reset()
    times["first"] = time.perf_counter() - begin
    state = libero_suites.evaluation_states(suite, task)[0]
    for name, call in (
        ("second", lambda: OffScreenRenderEnv(**arguments).reset()),
        ("reset", env.reset),
        ("restore", lambda: env.set_init_state(state)),
    ):
        begin = time.perf_counter()
        call()
        times[name] = time.perf_counter() - begin
    connection.send(("times", times))


def _arguments(suite: str, task: int, size: int) -> dict[str, Any]:
    """Of an OffScreenRenderEnv with the one camera that we draw, all else as LIBERO has it."""
    gl.prepare()
    libero_suites.task_id(suite, task)
    from libero.libero import benchmark

    path = benchmark.get_benchmark_dict()[suite]().get_task_bddl_file_path(task)
    return {
        "bddl_file_name": path,
        "camera_names": ["agentview"],
        "camera_heights": size,
        "camera_widths": size,
    }


def _silently(body: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    """robosuite and LIBERO print as they are imported and built."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            body(connection, *arguments)
        except EOFError:  # the other side has what it wanted
            return
        except Exception as error:
            connection.send(("error", f"{type(error).__name__}: {error}"))
