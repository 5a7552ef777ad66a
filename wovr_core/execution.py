"""Real episodes: a scripted expert, a policy, or a fixed list of actions acting in the simulator.

Each is a function (envs, job) for EnvPool.map, and each is a function of its job alone: whichever worker runs
it, and with whatever neighbours, the episode is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wovr_core.data.array_codecs import Codec
from wovr_core.data.episode_files import write_episode
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.environments import demonstrate
from wovr_core.envs.expert.demonstrations import ExpertConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.recording import Recorder
from wovr_core.errors import NotReplayableError
from wovr_core.types import CHUNK, NULL_ACTION, Episode, FloatArray, Rollout, StateArray


@dataclass(frozen=True)
class ExpertJob:
    """One scripted demonstration from a seeded training start."""

    env: LiberoConfig
    task: int
    seed: int
    expert: ExpertConfig


def run_expert(envs: EnvCache, job: ExpertJob) -> Episode:
    return demonstrate(envs.get(job.env, job.task), job.seed, job.expert)


@dataclass(frozen=True)
class PolicyJob:
    """One episode of a policy checkpoint, from a seeded training start or one of the evaluation states."""

    env: LiberoConfig
    task: int
    start: Literal["training", "evaluation"]
    index: int
    """The seed of a training start, or the number (0-49) of an evaluation state."""
    policy: Path
    temperature: float
    seed: int
    max_steps: int
    steps_after_success: int = CHUNK
    """Recorded past the first success, so that the released object is seen to lie."""
    correlation: float = 0.0
    """Of the policy's draws along a chunk (`policy.sampling`)."""


def run_policy(envs: EnvCache, job: PolicyJob) -> Episode:
    """Act chunk by chunk on the newest frame; stop a little after the first success or at max_steps."""
    import torch

    from wovr_core.policy.base import drawing
    from wovr_core.seeding import torch_generator

    env = envs.get(job.env, job.task)
    policy, version = _policy(job.policy)
    frame = env.reset(job.index) if job.start == "training" else env.reset_to_initial(job.index)
    generator = torch_generator(job.seed, "policy_episode", job.start, job.task, job.index)
    recorder = Recorder(env, frame)
    tokens, log_probs = [], []
    previous = NULL_ACTION
    stop_at = job.max_steps
    while len(recorder.actions) < stop_at:
        chunk = policy.act(
            torch.from_numpy(frame)[None],
            [env.task.instruction],
            torch.from_numpy(previous)[None],
            temperature=job.temperature,
            generator=generator,
            **drawing(policy, job.correlation),
        )
        tokens.append(chunk.tokens[0].numpy())
        log_probs.append(chunk.log_probs[0].numpy())
        for action in chunk.actions[0].numpy():
            result = recorder.step(action)
            frame, previous = result.frame, action
            if result.success and not any(recorder.success[:-1]):
                stop_at = min(job.max_steps, len(recorder.actions) + job.steps_after_success)
    return Episode(
        id=f"{env.task.suite}-{env.task.task}-{job.start}{job.index:06d}-{version}-{job.seed}",
        task=env.task,
        seed=job.index,
        source=version,
        action_tokens=np.stack(tokens),
        log_probs=np.stack(log_probs),
        info={"start": job.start, "temperature": str(job.temperature), "view": job.env.view} | recorder.info(),
        **recorder.fields(),
    )


@dataclass(frozen=True)
class ReplayJob:
    """Fixed actions from a saved instant: what the audit compares imagination with."""

    env: LiberoConfig
    task: int
    episode_id: str
    sim_state: StateArray
    actions: FloatArray
    """(T, A)"""


def replay_job(env: LiberoConfig, rollout: Rollout, actions: FloatArray | None = None) -> ReplayJob:
    """What executes an imagined rollout's actions, or the given ones (T, A), from where it began.

    Raises:
        NotReplayableError: it began where no simulator was.
    """
    if rollout.sim_state is None:
        raise NotReplayableError(
            f"rollout {rollout.id} begins at a frame of {rollout.start.episode_id} that was recorded without a "
            "simulator's state (a real arm, or imported data): it cannot be audited, only its policy can be evaluated"
        )
    chosen = rollout.actions if actions is None else actions
    return ReplayJob(env, rollout.task.task, rollout.id, rollout.sim_state, chosen)


def replay(envs: EnvCache, job: ReplayJob) -> Episode:
    """Execute the actions exactly, all of them, whatever they lead to."""
    env = envs.get(job.env, job.task)
    recorder = Recorder(env, env.restore(job.sim_state))
    for action in job.actions:
        recorder.step(action)
    return Episode(
        id=job.episode_id,
        task=env.task,
        seed=0,
        source="replay",
        info={"start": "replay", "view": job.env.view} | recorder.info(),
        **recorder.fields(),
    )


@dataclass(frozen=True)
class WriteJob:
    """Make one episode and write it, all in the worker: what comes back to the parent is a few bytes."""

    name: str
    folder: Path
    codec: Codec
    function: Callable[[EnvCache, Any], Episode]
    job: Any
    """What the function is called with; has a field `task`."""


@dataclass(frozen=True)
class Written:
    """What is told of an episode on disk."""

    succeeded: bool
    length: int
    size: int
    """Bytes of the file."""


def make_and_write(envs: EnvCache, job: WriteJob) -> Written:
    """For EnvPool.map."""
    episode = job.function(envs, job.job)
    path = write_episode(job.folder, replace(episode, id=job.name), job.codec)
    return Written(episode.succeeded, episode.length, path.stat().st_size)


@lru_cache(maxsize=2)
def _policy(path: Path) -> tuple[Any, str]:
    """The policy of a checkpoint, loaded once per worker process. Checkpoint folders are never rewritten."""
    from wovr_core.model_files import load_policy

    return load_policy(path)
