"""Episodes for test_collect that need no simulator; in a module of their own, so that workers can import it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.execution import ExpertJob
from wovr_core.types import Episode, TaskId

if TYPE_CHECKING:
    from wovr_core.stages import collect


def small(envs: EnvCache, job: ExpertJob) -> Episode:
    return _episode(job, steps=8, size=8)


def slow(envs: EnvCache, job: ExpertJob) -> Episode:
    time.sleep(0.005)
    return _episode(job, steps=16, size=16)


def large(envs: EnvCache, job: ExpertJob) -> Episode:
    """1 MB of raw frames."""
    return _episode(job, steps=80, size=64)


def _episode(job: ExpertJob, steps: int, size: int) -> Episode:
    rng = np.random.default_rng(job.seed)
    room = np.linspace(0, rng.uniform(100, 200), size * size * 3).reshape(1, size, size, 3) + rng.uniform(0, 50, 3)
    frames = np.repeat(room.astype(np.uint8), steps + 1, axis=0)
    frames[:, 0, 0, 0] = np.arange(steps + 1)
    return Episode(
        id="to be named",
        task=TaskId("libero_object", job.task, "do it"),
        seed=job.seed,
        source="expert",
        frames=frames,
        actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        success=np.arange(steps + 1) > steps - (job.seed % 2),
        sim_states=rng.normal(size=(steps + 1, 20)),
    )


def inputs(pool: EnvPool, tasks: tuple[int, ...] = (0, 3)) -> collect.CollectInputs:
    from wovr_core.stages import collect

    return collect.CollectInputs(LiberoConfig(size=16), tasks, 5, pool)


def main() -> None:
    """folder, episodes per task, workers: collect until it is done, or until somebody kills us."""
    from wovr_core.stages import collect

    folder, count, workers = sys.argv[1:]
    collect.run_expert = slow
    with EnvPool(int(workers)) as pool:
        collect.run(collect.CollectConfig(clean=int(count), faulty=0), inputs(pool), Path(folder))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import collect_jobs  # under its own name, which the workers know too

    collect_jobs.main()
