"""Measure whether imagination orders siblings as the simulator does: before any RL, how much it can teach.

Groups are imagined as RL imagines them, at starts before a grasp. The same actions are executed, and both ends are
judged: by what the classifier promises, and by whether the task's object is held above where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wovr_core.audit.agreement import sibling_correlation
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.execution import ReplayJob, replay_job
from wovr_core.imagination import imagine_groups
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import load_policy, load_reward
from wovr_core.rl.group_batch import returns_of
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator, draw_keyframes, make_env
from wovr_core.stages.progress import Progress
from wovr_core.stages.train_policy_rl import PolicyRLConfig
from wovr_core.types import Frames, Keyframe, RolloutGroup

LIFTED = 0.03
"""Metres above where it was, from which on an object counts as lifted."""


@dataclass(frozen=True)
class AgreementConfig:
    rl: PolicyRLConfig
    """Whose group size, length, draws and returns are measured."""
    starts: int = 60
    """Groups, from keyframes whose reason is "contact"."""


@dataclass(frozen=True)
class AgreementInputs:
    simulator: Simulator
    keyframes: str
    keyframes_version: str
    env: LiberoConfig
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class AgreementOutputs:
    imagined_lifted: dict[str, Any]
    """`SiblingCorrelation` of imagined returns and objects really lifted."""
    imagined_promised: dict[str, Any]
    """Of imagined returns and what the classifier promises from the real last frame."""
    promised_lifted: dict[str, Any]
    """Of that promise and objects really lifted: how far the classifier is right where it sees the truth."""
    lifted: list[int]
    """[rollouts in which it was really lifted, rollouts]"""


@dataclass(frozen=True)
class _End:
    frame: Frames
    raised: float
    """Of the first object that the task names, in m, over the actions; nan where that is a part of the furniture."""


def run(
    config: AgreementConfig, inputs: AgreementInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> AgreementOutputs:
    """Imagine, execute the same actions, and correlate.

    Raises:
        WovrError: no keyframe lies before a contact, no task has an object to be lifted, or the classifier promises
            nothing (reward.model.outcome).
    """
    versions = inputs.simulator.versions() | {"keyframes": inputs.keyframes_version, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "measure_agreement", config, versions | {"env": str(inputs.env)}, on_metrics)
    finished = folder.outputs(AgreementOutputs)
    if finished:
        return finished
    reward, _, _ = load_reward(inputs.simulator.reward)
    if not reward.config.outcome:
        raise WovrError("the reward classifier promises nothing to correlate: train it with reward.model.outcome=true")
    starts = [k for k in read_keyframes(Path(inputs.keyframes)) if k.reason == "contact"]
    if not starts:
        raise WovrError(f"no keyframe of {inputs.keyframes} lies before a contact: the gripper never closes there")
    refuse_furniture(inputs.env, sorted({k.task.task for k in starts}), inputs.pool)
    groups = _imagined(config, inputs, starts)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    progress = Progress(folder.title, len(rollouts), "rollout")
    ends = []
    for end in inputs.pool.map(_execute, [replay_job(inputs.env, r) for r in rollouts], key=_task):
        ends.append(end)
        progress.update(1)
    progress.close()

    shape = (len(groups), config.rl.group_size)
    returns = np.stack([returns_of(g, config.rl.outcome_worth, config.rl.discount) for g in groups])
    frames = torch.from_numpy(np.stack([end.frame for end in ends]))
    promised = reward.p_outcome(frames, embed_tensor([r.task.instruction for r in rollouts])).numpy().reshape(shape)
    raised = np.array([end.raised for end in ends], dtype=np.float32).reshape(shape)
    liftable = ~np.isnan(raised).any(axis=1)  # a drawer is not lifted: its groups tell of promises alone
    lifted = (raised[liftable] > LIFTED).astype(np.float32)
    found = {
        "imagined_lifted": asdict(sibling_correlation(returns[liftable], lifted)),
        "imagined_promised": asdict(sibling_correlation(returns, promised)),
        "promised_lifted": asdict(sibling_correlation(promised[liftable], lifted)),
    }
    folder.log(len(rollouts), {key: f["value"] for key, f in found.items() if f["value"] is not None})
    return folder.finish(AgreementOutputs(**found, lifted=[int(lifted.sum()), lifted.size]))


def refuse_furniture(env: LiberoConfig, tasks: Sequence[int], pool: JobPool) -> None:
    """Raises WovrError where none of the tasks has an object to be lifted; asked before anything is imagined."""
    jobs = [(env, task) for task in tasks]
    if not any(pool.map(_can_lift, jobs)):
        raise WovrError(f"none of the tasks {list(tasks)} of {env.suite} has an object to be lifted")


def _can_lift(envs: EnvCache, job: tuple[LiberoConfig, int]) -> bool:
    env = envs.get(*job)
    env.reset(0)
    return not np.isnan(_height(env))


def _imagined(config: AgreementConfig, inputs: AgreementInputs, starts: Sequence[Keyframe]) -> list[RolloutGroup]:
    rl = config.rl
    return imagine_groups(
        load_policy(inputs.simulator.policy)[0],
        make_env(inputs.simulator, rl.solver_steps, rl.chunks, rl.every_frame),
        draw_keyframes(starts, config.starts, inputs.seed, "agreement"),
        group_size=rl.group_size,
        chunks=rl.chunks,
        temperature=rl.temperature,
        discount=rl.discount,
        seed=derive_seed(inputs.seed, "agreement"),
        correlation=rl.correlation or 0.0,
        shared_noise=bool(rl.shared_noise),
    )


def _execute(envs: EnvCache, job: ReplayJob) -> _End:
    env = envs.get(job.env, job.task)
    env.restore(job.sim_state)
    before = _height(env)
    for action in job.actions:
        env.advance(action)
    return _End(env.frame(), _height(env) - before)


def _height(env: Any) -> float:
    """m, of the first object that the task names; nan where that is a part of the furniture."""
    pose = env.poses().get(env.objects_of_interest[0])
    return float("nan") if pose is None else float(pose[2])


def _task(job: ReplayJob) -> int:
    return job.task
