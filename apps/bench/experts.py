"""Success of the scripted demonstrator per task, by physics alone: clean by default, under noise on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apps.bench import Row, row
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.expert.composition import compose, expert_action
from wovr_core.envs.expert.demonstrations import ExpertConfig, Noise, NoiseConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.statistics import format_rate

SUITES = ("libero_object", "libero_spatial", "libero_goal", "libero_10")
FIRST_SEED = 1_000_000
"""Starts of the bench: seeds apart from those that data sets are collected with."""


@dataclass(frozen=True)
class Trials:
    """Some starts of one task."""

    suite: str
    task: int
    seeds: tuple[int, ...]
    noise: float


@dataclass(frozen=True)
class Outcome:
    """What came of them."""

    instruction: str
    first_success: tuple[int | None, ...]
    """Steps to the first success of each start, or None."""
    refusal: str = ""
    """Why the demonstrator does not do this task, if it does not."""


def run(
    suites: Sequence[str] = SUITES,
    tasks: Sequence[int] = tuple(range(10)),
    starts: int = 20,
    noise: float = 0.0,
    workers: int = 2,
) -> list[Row]:
    """Success rate over `starts` seeded starts of each task, with k of n and its 95 % Wilson interval, and the
    mean number of steps to the first success. A task without a demonstrator counts 0 and names the reason.

    Args:
        suites: of LIBERO.
        tasks: of each suite.
        starts: how many per task.
        noise: deviation of both parts of the action noise (0: clean; demonstrations are recorded at 0.15).
        workers: processes.
    """
    seeds = np.array_split(np.arange(FIRST_SEED, FIRST_SEED + starts), max(1, -(-starts // 10)))
    jobs = [
        Trials(suite, task, tuple(int(s) for s in some), noise) for suite in suites for task in tasks for some in seeds
    ]
    found: dict[tuple[str, int], list[Outcome]] = {}
    with EnvPool(workers, cached_envs=1) as pool:
        for job, outcome in zip(jobs, pool.map(try_task, jobs, key=_task), strict=True):
            found.setdefault(_task(job), []).append(outcome)
    return [line for (suite, task), outcomes in found.items() for line in _rows(f"{suite}/{task}", outcomes)]


def try_task(envs: EnvCache, trials: Trials) -> Outcome:
    """Let the demonstrator act from each start until it succeeds or its steps run out; no picture is drawn."""
    env = envs.get(LiberoConfig(suite=trials.suite, size=16), trials.task)
    try:
        longest = ExpertConfig().max_steps * len(compose(env.goal))
    except WovrError as refusal:
        return Outcome(env.task.instruction, (), str(refusal))
    first = []
    for seed in trials.seeds:
        env.reset(seed)
        noise = Noise(NoiseConfig(trials.noise, trials.noise), np.random.default_rng([seed, 0x5EED]))
        steps = (step for step in range(1, longest + 1) if env.advance(noise(expert_action(env))))
        first.append(next(steps, None))
    return Outcome(env.task.instruction, tuple(first))


def _task(trials: Trials) -> tuple[str, int]:
    return trials.suite, trials.task


def _rows(task: str, outcomes: list[Outcome]) -> list[Row]:
    name = f"{task} {outcomes[0].instruction}"
    if outcomes[0].refusal:
        return [row(f"{name}: none, {outcomes[0].refusal}", 0.0, "success")]
    first = [steps for outcome in outcomes for steps in outcome.first_success]
    needed = [steps for steps in first if steps is not None]
    rows = [row(f"{name}: {format_rate(len(needed), len(first))}", len(needed) / len(first), "success")]
    return rows + ([row(f"{name}: to success", float(np.mean(needed)), "steps")] if needed else [])
