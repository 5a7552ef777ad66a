"""Run jobs on environments in several processes: one primitive, `map`, whose results do not depend on how many.

    def episode(envs: EnvCache, seed: int) -> Frames:       # module level
        return envs.get(CONFIG, 0).reset(seed)

    with EnvPool(workers=2) as pool:
        for frame in pool.map(episode, range(100)): ...

A job sees environments in whatever state the last one left them; it begins with a reset or a restore, both of
which are functions of their argument alone. With `workers=0` the jobs run in this process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import signal
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from wovr_core.envs import pool_worker, shared_results
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import J, JobError, JobFailure, R, job_error, job_name
from wovr_core.errors import WovrError

__all__ = ["EnvPool", "JobError", "JobFailure"]

_LOOK_AHEAD = 4  # jobs per worker that may be done before an earlier one is


@dataclass
class _Job:
    index: int
    name: str
    task: bytes
    key: Hashable
    block: str


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: _Job | None = None
    keys: deque[Hashable] = field(default_factory=deque)
    """Of its latest jobs, as many as its cache holds environments."""


class EnvPool:
    """N worker processes, each keeping the environments it has built.

    Args:
        workers: how many processes; 0 runs the jobs in this one.
        cached_envs: environments that each process keeps.
    """

    def __init__(self, workers: int, cached_envs: int = 4) -> None:
        if workers < 0:
            raise WovrError(f"workers {workers} is negative; 0 runs in this process")
        self._count = workers
        self._bound = cached_envs
        self._workers: list[_Worker] = []
        self._inline = EnvCache(cached_envs)
        self._busy = False
        self._closed = False

    def __enter__(self) -> EnvPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(
        self,
        function: Callable[[EnvCache, J], R],
        jobs: Iterable[J],
        key: Callable[[J], Hashable] | None = None,
    ) -> Iterator[R]:
        """Results in the order of the jobs, as they become available.

        Args:
            function: a module-level function of the process's environments and one job.
            jobs: may be long or lazy: they are drawn little by little.
            key: jobs of equal key (say, the task) go to a process that has served that key, where possible.

        Raises:
            JobError: a job raised a WovrError, or its process died.
            JobFailure: a job raised anything else.
        """
        held: dict[int, R] = {}
        following = 0
        for index, result in self._run(function, jobs, key):
            held[index] = result
            while following in held:
                yield held.pop(following)
                following += 1

    def close(self) -> None:
        """Stop the workers, at once if they are at work. Harmless when repeated."""
        self._closed = True
        for worker in self._workers:
            with contextlib.suppress(OSError):
                if worker.job is None:
                    worker.connection.send(None)
                else:
                    worker.process.terminate()
        for worker in list(self._workers):
            self._drop(worker, patience=5.0)
        self._inline.close()

    def _run(
        self, function: Callable[[EnvCache, J], R], jobs: Iterable[J], key: Callable[[J], Hashable] | None
    ) -> Iterator[tuple[int, R]]:
        if self._closed:
            raise WovrError("this pool is closed")
        if self._busy:
            raise WovrError("this pool is at work on another map; finish that one first")
        self._busy = True
        try:
            if self._count == 0:
                yield from self._run_here(function, jobs)
            else:
                yield from self._run_there(function, jobs, key)
        finally:
            self._busy = False
            # Left early, by an error, by Ctrl-C or by a consumer that has enough: the jobs under way are moot.
            for worker in [w for w in self._workers if w.job is not None]:
                worker.process.terminate()
                self._drop(worker, patience=1.0)

    def _run_here(self, function: Callable[[EnvCache, J], R], jobs: Iterable[J]) -> Iterator[tuple[int, R]]:
        for index, job in enumerate(jobs):
            try:
                result = function(self._inline, job)
            except Exception as error:
                raise job_error(job_name(index, job), pool_worker.describe(error)) from error
            yield index, result

    def _run_there(
        self, function: Callable[[EnvCache, J], R], jobs: Iterable[J], key: Callable[[J], Hashable] | None
    ) -> Iterator[tuple[int, R]]:
        source = enumerate(jobs)
        waiting: deque[_Job] = deque()
        done: set[int] = set()
        oldest = 0  # the first job whose result is not out yet
        exhausted = False
        while True:
            while not exhausted and len(waiting) < self._count * _LOOK_AHEAD:
                index, job = next(source, (None, None))
                if index is None:
                    exhausted = True
                else:
                    waiting.append(self._pack(function, index, job, key))
            last = oldest + 2 * self._count * _LOOK_AHEAD
            while (near := [j for j in waiting if j.index < last]) and (worker := self._idle_worker()):
                waiting.remove(self._give(worker, near))
            at_work = [w for w in self._workers if w.job is not None]
            if not at_work:
                return
            for worker in self._ready(at_work):
                index, result = self._take(worker)
                done.add(index)
                while oldest in done:
                    done.remove(oldest)
                    oldest += 1
                yield index, result

    def _pack(self, function: Callable[..., Any], index: int, job: Any, key: Callable[[Any], Hashable] | None) -> _Job:
        try:
            task = pickle.dumps((function, job), protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"{job_name(index, job)} cannot go to another process ({error}); "
                "the function must stand at module level and the job be plain data"
            ) from error
        block = f"wovr-{os.getpid()}-{secrets.token_hex(6)}"
        return _Job(index, job_name(index, job), task, key(job) if key else None, block)

    def _idle_worker(self) -> _Worker | None:
        for worker in [w for w in self._workers if w.job is None]:
            if worker.process.is_alive():
                return worker
            self._drop(worker, patience=0.0)
        return self._start() if len(self._workers) < self._count else None

    def _give(self, worker: _Worker, waiting: list[_Job]) -> _Job:
        """The first job whose key this worker knows; else one that no worker knows; else the first."""
        known = {k for w in self._workers for k in w.keys}
        job = next((j for j in waiting if j.key in worker.keys), None)
        job = job or next((j for j in waiting if j.key not in known), waiting[0])
        if job.key in worker.keys:
            worker.keys.remove(job.key)
        worker.keys.append(job.key)
        if len(worker.keys) > self._bound:
            worker.keys.popleft()
        worker.job = job
        try:
            worker.connection.send((job.block, job.task))
        except OSError:  # it died this very moment
            raise self._obituary(worker) from None
        return job

    def _ready(self, at_work: list[_Worker]) -> list[_Worker]:
        """Those that have answered or died; blocks until there is one."""
        ready = wait([w.connection for w in at_work] + [w.process.sentinel for w in at_work])
        return [w for w in at_work if w.connection in ready or w.process.sentinel in ready]

    def _take(self, worker: _Worker) -> tuple[int, Any]:
        assert worker.job is not None
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            raise self._obituary(worker) from None
        job, worker.job = worker.job, None
        if isinstance(answer, pool_worker.Failure):
            raise job_error(job.name, answer) from answer.error
        return job.index, shared_results.unpack(answer)

    def _obituary(self, worker: _Worker) -> JobError:
        job = worker.job
        assert job is not None
        worker.process.join(5.0)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        hint = "; was memory short? fewer workers need less" if code == -signal.SIGKILL else ""
        self._drop(worker, patience=0.0)
        return JobError(f"{job.name}: its worker process died ({how}){hint}")

    def _start(self) -> _Worker:
        worker = _Worker(*pool_worker.start(self._bound))
        self._workers.append(worker)
        return worker

    def _drop(self, worker: _Worker, patience: float) -> None:
        worker.process.join(patience)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()
        if worker.job is not None:
            shared_results.discard(worker.job.block)
            worker.job = None
        if worker in self._workers:
            self._workers.remove(worker)
