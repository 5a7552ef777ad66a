"""Jobs for test_pool: they stand in a module of their own, so that worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.envs.env_cache import EnvCache
from wovr_core.errors import WovrError


@dataclass(frozen=True)
class Thing:
    name: str
    large: np.ndarray
    small: np.ndarray
    more: dict[str, Any]


def make_thing(envs: EnvCache, job: int) -> Thing:
    rng = np.random.default_rng(job)
    time.sleep(0.02 * (job % 3))
    large = rng.integers(0, 255, (300, 64, 4), dtype=np.uint8)
    return Thing(
        f"thing {job}",
        large,
        rng.normal(size=3).astype(np.float32),
        {"pair": (rng.normal(size=(100, 200)), job), "turned": large[::2, ::-1], "none": np.empty((0, 5))},
    )


def double(envs: EnvCache, job: int) -> int:
    return 2 * job


def environment(envs: EnvCache, job: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def fail_on_three(envs: EnvCache, job: int) -> int:
    if job == 3:
        raise ValueError("three is too many")
    return job


def complain(envs: EnvCache, job: str) -> None:
    raise WovrError("the cable is loose; plug it in")


def die_on_two(envs: EnvCache, job: int) -> np.ndarray:
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(1 << 20, job, dtype=np.uint8)


def nap(envs: EnvCache, job: float) -> float:
    time.sleep(job)
    return job


def sign_and_spin(envs: EnvCache, job: str) -> None:
    """Leaves its pid in a file and then computes without end."""
    Path(job).write_text(str(os.getpid()))
    while True:
        np.linalg.norm(np.ones((200, 200)))


def libero_steps(envs: EnvCache, job: tuple[int, int]) -> dict[str, np.ndarray]:
    """Frames and states of a few random steps on a task: (task, seed)."""
    from wovr_core.envs.libero import LiberoConfig

    env = envs.get(LiberoConfig("libero_object"), job[0])
    frames, states = [env.reset(job[1])], [env.sim_state()]
    rng = np.random.default_rng(job[1])
    for _ in range(5):
        frames.append(env.step(rng.uniform(-1, 1, 7).astype(np.float32)).frame)
        states.append(env.sim_state())
    return {"frames": np.stack(frames), "states": np.stack(states)}
