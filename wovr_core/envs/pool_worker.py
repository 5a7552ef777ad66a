"""A worker process of `EnvPool`: takes a job, runs it, sends the result; dies with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from wovr_core.envs import shared_results
from wovr_core.envs.env_cache import EnvCache

THREAD_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "LP_NUM_THREADS": "0",  # the software rasteriser then draws on the calling thread
}
"""Set before a worker starts: one thread each, so that workers do not fight over cores."""

_start_lock = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the parent."""

    error: BaseException | None
    """The exception itself, where it can be pickled."""
    summary: str
    trace: str


def start(cache_bound: int) -> tuple[SpawnProcess, Connection]:
    """A new worker process, and our end of the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, cache_bound), name="wovr-env", daemon=True)
    with _start_lock, _environment(THREAD_VARIABLES), _hold_interrupts():
        process.start()
    theirs.close()
    return process, ours


def serve(connection: Connection, cache_bound: int) -> None:
    """Answer each (block name, pickled (function, job)) with a Parcel or a Failure, until None or the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    envs = EnvCache(cache_bound)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (message := connection.recv()) is not None:
            block, task = message
            connection.send(_answer(envs, block, task))
    envs.close()


def _answer(envs: EnvCache, block: str, task: bytes) -> shared_results.Parcel | Failure:
    try:
        function, job = pickle.loads(task)
        return shared_results.pack(function(envs, job), block)
    except Exception as error:
        return describe(error)


def describe(error: Exception) -> Failure:
    """The failure as it can travel: some exceptions do not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
        sent: BaseException | None = error
    except Exception:
        sent = None
    return Failure(sent, f"{type(error).__name__}: {error}", traceback.format_exc())


def _die_with_parent() -> None:
    """Wait for the parent's end, then stop at once, job or no job; covers kill -9 of the parent."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables that a process started within the block inherits."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Ctrl-C within the block waits for its end, and a process started in it is born deaf to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
