"""Where gripper and object really were: read off the simulator by restoring the states that episodes recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.types import Episode, FloatArray, StateArray


@dataclass(frozen=True)
class PositionJob:
    env: LiberoConfig
    task: int
    sim_states: StateArray
    """(N, S)"""


def read_positions(envs: EnvCache, job: PositionJob) -> FloatArray:
    """(N, 2, 3) in m: the point between the fingertips, and the first object that the task names."""
    env = envs.get(job.env, job.task)
    found = []
    for state in job.sim_states:
        env.restore(state)
        poses = env.poses()
        found.append(np.stack([poses["eef"][:3], poses[env.objects_of_interest[0]][:3]]))
    return np.stack(found).astype(np.float32)


def positions_of(
    episodes: Sequence[Episode], steps: Sequence[Sequence[int]], env: LiberoConfig, pool: JobPool
) -> list[FloatArray]:
    """Per episode (len(steps), 2, 3). Raises WovrError for an episode that recorded no states."""
    jobs = []
    for episode, chosen in zip(episodes, steps, strict=True):
        if episode.sim_states is None:
            raise WovrError(f"episode {episode.id} holds no simulator states: where things were is not known")
        jobs.append(PositionJob(env, episode.task.task, episode.sim_states[list(chosen)]))
    return list(pool.map(read_positions, jobs, key=_task))


def _task(job: PositionJob) -> int:
    return job.task
