"""One job for test_determinism, importable by worker processes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.types import FloatArray, StateArray

sys.path.insert(0, str(Path(__file__).parent))
import libero_play as play


@dataclass(frozen=True)
class Played:
    """What a seed led to."""

    actions: FloatArray
    states: StateArray
    frames: np.ndarray
    success: np.ndarray

    def differs(self, other: Played) -> str | None:
        """The first field that is not the same, bit for bit."""
        for name in ("actions", "states", "frames", "success"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.dtype != theirs.dtype or mine.tobytes() != theirs.tobytes():
                return name
        return None


@dataclass(frozen=True)
class PlayJob:
    env: LiberoConfig
    task: int
    seed: int
    steps: int


def play_seed(envs: EnvCache, job: PlayJob) -> Played:
    """Reset, then actions that depend on the seed and on what is seen: towards an object, closing, with noise."""
    env: LiberoEnv = envs.get(job.env, job.task)
    env.reset(job.seed)
    rng = np.random.default_rng(job.seed)
    things = [name for name in (*env.objects_of_interest, *sorted(env.poses())) if name in env.poses()]
    actions, states, frames, success = [], [env.sim_state()], [env.frame()], [env.success]
    for step in range(job.steps):
        action = play.grasp_action(env, things[0], closing=step > 0.6 * job.steps)
        action[:3] += rng.normal(0, 0.2, 3)
        action[3:6] = rng.normal(0, 0.1, 3) if step % 3 else 0
        actions.append(action.clip(-1, 1).astype(np.float32))
        result = env.step(actions[-1])
        states.append(env.sim_state())
        frames.append(result.frame)
        success.append(result.success)
    return Played(np.stack(actions), np.stack(states), np.stack(frames), np.array(success))
