"""Same seed, same episode, bit for bit: whoever runs it, wherever, after whatever, and from any frame on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import determinism_jobs as jobs
import libero_play as play

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool

ROOT = Path(__file__).parents[3]
SUITES = ("libero_object", "libero_spatial", "libero_goal", "libero_10")
TASKS = {"libero_object": 2, "libero_spatial": 5, "libero_goal": 0, "libero_10": 0}
SIZE = 24


def job(suite: str, seed: int, steps: int = 12, task: int | None = None) -> jobs.PlayJob:
    return jobs.PlayJob(LiberoConfig(suite, size=SIZE), TASKS[suite] if task is None else task, seed, steps)


@pytest.fixture(scope="module")
def envs() -> Iterator[EnvCache]:
    cache = EnvCache(len(SUITES))
    yield cache
    cache.close()


@pytest.mark.parametrize("suite", SUITES)
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each example takes a second: a failure is not worth shrinking
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**63), before=st.integers(0, 2**31), cut=st.floats(0, 1), mess=st.integers(0, 6))
def test_an_episode_is_a_function_of_its_seed(
    envs: EnvCache, suite: str, seed: int, before: int, cut: float, mess: int
) -> None:
    """Whatever the environment did before; and from any of its frames on."""
    first = jobs.play_seed(envs, job(suite, seed, 8))
    env = envs.get(job(suite, seed).env, TASKS[suite])
    env.reset(before)
    play.record(env, play.random_actions(before, mess))
    assert jobs.play_seed(envs, job(suite, seed, 8)).differs(first) is None
    if seed != before:
        env.reset(before)
        assert not np.array_equal(env.sim_state(), first.states[0])
    start = round(cut * len(first.actions))
    assert play.first_difference(env, first.actions, first.states, start) is None
    assert np.array_equal(env.restore(first.states[start]), first.frames[start])


@pytest.mark.slow
def test_neither_the_number_of_processes_nor_the_order_matters(envs: EnvCache) -> None:
    """All four suites, two seeds each, on one worker and on two, in two orders, against this process."""
    todo = [job(suite, seed, 10) for suite in SUITES for seed in (1, 2**40)]
    expected = [jobs.play_seed(envs, one) for one in todo]
    for workers, order in ((1, slice(None)), (2, slice(None, None, -1))):
        with EnvPool(workers) as pool:
            found = list(pool.map(jobs.play_seed, todo[order], key=lambda one: one.env.suite))[order]
        assert [one.differs(other) for one, other in zip(found, expected, strict=True)] == [None] * len(todo)


@pytest.mark.slow
def test_another_run_on_stock_meshes_plays_the_same(envs: EnvCache, tmp_path: Path) -> None:
    """A fresh interpreter without our caches' environment, under the reference renderer: the same physics."""
    expected = {suite: jobs.play_seed(envs, job(suite, 77, 10)) for suite in SUITES}
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import numpy as np, determinism_jobs as jobs, test_determinism as here\n"
        "from dataclasses import replace\n"
        "envs = jobs.EnvCache(1)\n"
        "for suite in here.SUITES:\n"
        "    one = here.job(suite, 77, 10)\n"
        "    one = replace(one, env=replace(one.env, profile='reference', size=16))\n"
        "    p = jobs.play_seed(envs, one)\n"
        "    np.savez(suite, actions=p.actions, states=p.states, success=p.success)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"},
        timeout=300,
        check=True,
    )
    for suite, played in expected.items():
        with np.load(tmp_path / f"{suite}.npz") as found:
            other = replace(played, actions=found["actions"], states=found["states"], success=found["success"])
        assert other.differs(played) is None, suite
