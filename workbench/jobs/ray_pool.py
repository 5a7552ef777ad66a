"""Episodes and imagined batches as Ray tasks, by shards: what `EnvPool` is on one machine, on a cluster.

    with connected(cluster.gcs), RayPool(workers=16) as pool:
        evaluate.run(config, EvaluateInputs(..., pool=pool), out_dir)

Tasks read checkpoints from the file system that the nodes share. Results are those of this machine, bit for bit, where
the nodes' processors compute alike: randomness is a function of the job, and threads are as many. A task whose node
dies is run again elsewhere by Ray.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from workbench.jobs.environment import JOB_ID
from workbench.jobs.ray_client import RayAuthError
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import J, JobError, R, job_error, job_name
from wovr_core.envs.pool_worker import THREAD_VARIABLES, Failure, describe
from wovr_core.errors import MissingDependencyError, WovrError

_AHEAD = 2
"""Shards under way per worker: the next one waits where the last one ends."""
_RETRIES = 3
"""Times that Ray runs a shard again whose process or node died."""


class RayPool:
    """See `JobPool`. Ray must be connected (`connected`), for instance because this is a job of the cluster.

    Args:
        workers: shards at work at a time; more than the cluster has cores makes them wait.
        shard: jobs per task, of one key each.
        cached_envs: environments that each of Ray's processes keeps.
        cpus: that a task reserves.
    """

    def __init__(self, workers: int, shard: int = 2, cached_envs: int = 4, cpus: float = 1.0) -> None:
        if workers < 1 or shard < 1:
            raise WovrError(f"workers = {workers} and shard = {shard} must be at least 1")
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            raise WovrError("Ray is not connected; use `with connected(address):` around the pool")
        # A variable of this process that would make one there belong to another job stays here.
        variables = dict(THREAD_VARIABLES) | {k: os.environ[k] for k in (JOB_ID, "WOVR_HOME") if k in os.environ}
        self._task = self._ray.remote(
            num_cpus=cpus, max_retries=_RETRIES, retry_exceptions=False, runtime_env={"env_vars": variables}
        )(run_shard)
        self._limit = workers * _AHEAD
        self._shard = shard
        self._cached = cached_envs
        self._closed = False

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(
        self, function: Callable[[EnvCache, J], R], jobs: Iterable[J], key: Callable[[J], Hashable] | None = None
    ) -> Iterator[R]:
        """See `JobPool.map`."""
        if self._closed:
            raise WovrError("this pool is closed")
        shards = _shards(jobs, self._shard, key)
        under_way: deque[tuple[int, list[J], Any]] = deque()
        try:
            while True:
                while len(under_way) < self._limit and (following := next(shards, None)) is not None:
                    first, members = following
                    under_way.append((first, members, self._start(function, first, members)))
                if not under_way:
                    return
                first, members, reference = under_way[0]
                results = self._fetch(reference, first, members)
                under_way.popleft()
                for offset, result in enumerate(results):
                    if isinstance(result, Failure):
                        raise job_error(job_name(first + offset, members[offset]), result) from result.error
                    yield result
        finally:
            # Left early: what is under way is moot.
            for _, _, reference in under_way:
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Take no more jobs; the processes are Ray's."""
        self._closed = True

    def _start(self, function: Callable[[EnvCache, J], R], first: int, members: Sequence[J]) -> Any:
        try:
            # By reference, as between this machine's processes: Ray's own pickler would copy a function's code,
            # and a test or a notebook would run something else than what is installed.
            work = pickle.dumps((function, list(members)), protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"{job_name(first, members[0])} cannot go to another process ({error}); "
                "the function must stand at module level and the job be plain data"
            ) from error
        return self._task.remote(work, self._cached)

    def _fetch(self, reference: Any, first: int, members: Sequence[J]) -> list[Any]:
        try:
            return list(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            last = first + len(members) - 1
            raise JobError(
                f"jobs {first} to {last}: Ray could not run them ({type(error).__name__}: {said})"
            ) from error


def run_shard(work: bytes, cached_envs: int) -> list[Any]:
    """What a task does: the result of each job, or its Failure, after which the others are not run."""
    function, jobs = pickle.loads(work)
    results: list[Any] = []
    for job in jobs:
        try:
            results.append(function(_environments(cached_envs), job))
        except Exception as error:
            results.append(describe(error))
            break
    return results


@lru_cache(maxsize=1)
def _environments(bound: int) -> EnvCache:
    """Of this process: Ray uses it for one task after the other."""
    return EnvCache(bound)


def _shards(jobs: Iterable[J], size: int, key: Callable[[J], Hashable] | None) -> Iterator[tuple[int, list[J]]]:
    """Consecutive jobs of one key, at most `size`, each with the number of its first."""
    first = 0
    members: list[J] = []
    for index, job in enumerate(jobs):
        if members and (len(members) == size or (key is not None and key(job) != key(members[0]))):
            yield first, members
            first, members = index, []
        members.append(job)
    if members:
        yield first, members


@contextmanager
def connected(address: str = "auto") -> Iterator[None]:
    """Connect this process to a cluster, and leave it afterwards.

    Args:
        address: HOST:PORT of its head; "auto" within a job of the cluster.

    Raises:
        RayAuthError: RAY_AUTH_MODE is not "token".
        WovrError: the cluster does not answer.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token":
        raise RayAuthError("set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH: clusters without a token are not used")
    ray = _import_ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise WovrError(f"the Ray cluster at {address} cannot be joined: {str(error).splitlines()[0]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    loaded = "ray" in sys.modules
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("ray is not installed; pip install 'wovr-workbench[ray]'") from error
    if loaded:  # it read its variables when it was first imported; they may have been set since
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        constants: Any = importlib.import_module("ray._private.ray_constants")
        constants.ENABLE_RAY_CLUSTER = os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1") != "0"
    return ray
