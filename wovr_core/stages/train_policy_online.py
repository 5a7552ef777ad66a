"""Masked GRPO in the real simulator: the baseline that spends real episodes where WoVR spends imagined ones.

Loss, optimiser, step size, group size and how the policy draws are those of `train_policy_rl`; only the rollouts
differ: each group starts from one seeded training start, and every member is a real episode that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wovr_core.data.episode_files import write_episode
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import Interrupted, WovrError
from wovr_core.execution import PolicyJob, run_policy
from wovr_core.interrupts import stop_requested
from wovr_core.model_files import POLICY, load_policy, save_model, version_of
from wovr_core.rl.group_batch import of_episodes
from wovr_core.seeding import derive_seed, numpy_generator
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.real_episodes import versions_of
from wovr_core.stages.train_policy_rl import GroupTally, PolicyRLConfig, learn
from wovr_core.stages.training import Stateful, Training, set_learning_rate
from wovr_core.types import Episode
from wovr_core.wording import counted


@dataclass(frozen=True)
class PolicyOnlineConfig:
    """How the real episodes are spent. `rl.groups` and `rl.updates` are followed as far as the budget goes."""

    rl: PolicyRLConfig = field(default_factory=PolicyRLConfig)
    real_episodes: int = 256
    """Budget over all tasks; never exceeded."""
    max_steps: int = 160
    least_groups: int = 1
    """Groups of an update, at least, as far as `rl.groups` and the budget allow: few follow their noise."""

    def schedule(self) -> tuple[int, int]:
        """(updates, groups per update) that fit the budget: groups give way first, then updates.

        Raises:
            WovrError: the budget does not pay for one group.
        """
        affordable = self.real_episodes // self.rl.group_size
        if affordable < 1:
            budget = counted(self.real_episodes, "real episode")
            raise WovrError(f"a budget of {budget} does not pay for one group of {self.rl.group_size}")
        groups = min(self.rl.groups, affordable, max(self.least_groups, affordable // self.rl.updates))
        # What larger groups cannot use goes into further updates: the baseline spends all it may spend.
        return affordable // groups, groups


@dataclass(frozen=True)
class PolicyOnlineInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    policy: Path
    seed: int
    pool: JobPool


@dataclass(frozen=True)
class PolicyOnlineOutputs:
    policy: str
    version: str
    updates: int
    groups: int
    informative_groups: int
    real_episodes: int
    per_task: dict[str, int]
    """task index -> real episodes"""
    parameter_change: float


def run(
    config: PolicyOnlineConfig, inputs: PolicyOnlineInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> PolicyOnlineOutputs:
    """All updates; resumes after the last complete one (an update under way is run again, and counts once)."""
    start_version = version_of(inputs.policy)
    versions = versions_of(inputs) | {"policy": start_version}
    folder = StageFolder(out_dir, "train_policy_online", config, versions, on_metrics)
    finished = folder.outputs(PolicyOnlineOutputs)
    if finished:
        return finished
    policy, _ = load_policy(inputs.policy)
    updates, groups = config.schedule()
    start = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    reference = load_policy(inputs.policy)[0] if config.rl.reference_weight else None
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.0, weight_decay=0.0)
    tally = GroupTally()
    acting = folder.path / "acting"
    folder.scratch.append(acting)

    modules: dict[str, Stateful] = {"policy": policy, "tally": tally}
    with Training(
        folder, steps=updates, modules=modules, optimizer=optimizer, log_every=1, save_every_seconds=0.0
    ) as training:
        for update in training:
            set_learning_rate(optimizer, config.rl.learning_rate)
            behaviour = acting / f"update_{update:05d}"
            # The workers read the policy from a folder of its own: checkpoint folders are never rewritten.
            save_model(behaviour, POLICY, policy, lineage={"parent": start_version, "update": str(update)})
            episodes = _episodes(folder, config, inputs, behaviour, update, groups)
            size = config.rl.group_size
            members = [episodes[i : i + size] for i in range(0, len(episodes), size)]
            for episode in [e for group in members[: config.rl.kept_groups] for e in group]:
                write_episode(folder.path / "episodes", episode)
            batches = [of_episodes(group, config.rl.discount, config.rl.post_success_mask) for group in members]
            metrics = learn(policy, optimizer, batches, config.rl, tally, reference)
            training.log({"success_rate": sum(e.succeeded for e in episodes) / len(episodes)} | metrics)

    path = folder.path / "policy"
    version = save_model(path, POLICY, policy, lineage={"parent": start_version, "practice": "real"})
    moved = torch.nn.utils.parameters_to_vector(policy.parameters()).detach() - start
    starts = [task for update in range(updates) for task, _ in _starts(inputs, update, groups)]
    return folder.finish(
        PolicyOnlineOutputs(
            policy=str(path),
            version=version,
            updates=updates,
            groups=tally.groups,
            informative_groups=tally.informative,
            real_episodes=len(starts) * config.rl.group_size,
            per_task={str(task): starts.count(task) * config.rl.group_size for task in inputs.tasks},
            parameter_change=float(moved.norm() / start.norm()),
        )
    )


def _starts(inputs: PolicyOnlineInputs, update: int, groups: int) -> list[tuple[int, int]]:
    """(task, training start) of each group; the tasks take turns, in an order drawn per round."""
    chosen = []
    for number in range(update * groups, (update + 1) * groups):
        turn, place = divmod(number, len(inputs.tasks))
        order = numpy_generator(inputs.seed, "online_tasks", turn).permutation(len(inputs.tasks))
        chosen.append((inputs.tasks[order[place]], derive_seed(inputs.seed, "online_start", number) % 2**31))
    return chosen


def _episodes(
    folder: StageFolder,
    config: PolicyOnlineConfig,
    inputs: PolicyOnlineInputs,
    policy: Path,
    update: int,
    groups: int,
) -> Sequence[Episode]:
    jobs = [
        PolicyJob(
            inputs.env,
            task,
            "training",
            start,
            policy,
            config.rl.temperature,
            derive_seed(inputs.seed, "online_sampling", update, group, member),
            config.max_steps,
            steps_after_success=0,
            correlation=config.rl.correlation or 0.0,
        )
        for group, (task, start) in enumerate(_starts(inputs, update, groups))
        for member in range(config.rl.group_size)
    ]
    episodes = []
    for episode in inputs.pool.map(run_policy, jobs, key=_task):
        episodes.append(episode)
        if stop_requested():
            folder.remember_time()
            raise Interrupted(
                f"stopped train_policy_online in update {update + 1}; the same command begins that update again"
            )
    return episodes


def _task(job: PolicyJob) -> int:
    return job.task
