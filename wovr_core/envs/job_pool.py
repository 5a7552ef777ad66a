"""What the stages ask of whatever runs their jobs: this machine's processes (`pool.EnvPool`) or a cluster's.

A job is a function of its argument alone, so that results do not depend on who ran it, nor on how many did.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Protocol, TypeVar

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.pool_worker import Failure
from wovr_core.errors import WovrError

J = TypeVar("J")
R = TypeVar("R")


class JobError(WovrError):
    """A job failed for a reason that the user can mend, or its process was killed; names the job."""


class JobFailure(RuntimeError):
    """A job failed by a fault of the program; names the job and carries the worker's traceback."""


class JobPool(Protocol):
    """Runs a function over jobs."""

    def map(
        self,
        function: Callable[[EnvCache, J], R],
        jobs: Iterable[J],
        key: Callable[[J], Hashable] | None = None,
    ) -> Iterator[R]:
        """Results in the order of the jobs, as they become available.

        Args:
            function: a module-level function of the process's environments and one job.
            jobs: plain data; may be long or lazy.
            key: jobs of equal key (say, the task) are kept together, where possible.

        Raises:
            JobError: a job raised a WovrError, or its process died.
            JobFailure: a job raised anything else.
        """

    def close(self) -> None:
        """Give back what it holds. Harmless when repeated."""


def job_name(index: int, job: object) -> str:
    """For messages."""
    text = repr(job)
    return f"job {index} ({text if len(text) <= 160 else text[:157] + '...'})"


def job_error(name: str, failure: Failure) -> Exception:
    """What `map` raises for a job that failed."""
    if isinstance(failure.error, WovrError):
        return JobError(f"{name}: {failure.error}")
    return JobFailure(f"{name}: {failure.summary}\n\nIn the worker:\n{failure.trace}")
