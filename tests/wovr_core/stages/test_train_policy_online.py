"""GRPO in the simulator: budget, resuming, and that it learns from what really happened."""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.model_files import POLICY, load_policy, save_model
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.stages import train_policy_online as online
from wovr_core.stages.train_policy_rl import PolicyRLConfig
from wovr_core.types import Episode, TaskId

RL = PolicyRLConfig(updates=3, groups=2, group_size=4, learning_rate=3e-3, epochs=1)


class Simulator:
    """Stands for the pool: one chunk an episode, a success where the first token of the first action is even."""

    def __init__(self, limit: int = 10**9) -> None:
        self.jobs, self.limit = [], limit

    def map(self, function, jobs, key=None):
        for job in jobs:
            if len(self.jobs) >= self.limit:
                raise KeyboardInterrupt
            self.jobs.append(job)
            yield play(job)


@lru_cache(maxsize=1)
def loaded(path: Path):
    return load_policy(path)


def play(job) -> Episode:
    policy, version = loaded(job.policy)
    frame = np.random.default_rng(job.index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    chunk = policy.act(
        torch.from_numpy(frame)[None], ["do it"], torch.zeros(1, 7), temperature=job.temperature,
        generator=torch.Generator().manual_seed(job.seed),
    )  # fmt: skip
    success = np.zeros(9, dtype=bool)
    success[8] = int(chunk.tokens[0, 0, 0]) % 2 == 0
    return Episode(
        id=f"t{job.task}-{job.index}-{job.seed}", task=TaskId("libero_object", job.task, "do it"), seed=job.index,
        source=version, frames=np.repeat(frame[None], 9, axis=0), actions=chunk.actions[0].numpy(), success=success,
        action_tokens=chunk.tokens.numpy(), log_probs=chunk.log_probs.numpy(),
    )  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    policy = build(TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32), seed=1)
    save_model(tmp_path / "base", POLICY, policy, lineage={})
    return tmp_path / "base"


def run(base: Path, out: Path, config: online.PolicyOnlineConfig, simulator: Simulator, tasks=(0, 3)):
    inputs = online.PolicyOnlineInputs(LiberoConfig(size=16), tasks, base, 7, simulator)
    return online.run(config, inputs, out)


def test_it_spends_its_budget_and_not_more(base, tmp_path):
    simulator = Simulator()
    config = online.PolicyOnlineConfig(RL, real_episodes=27, max_steps=8)
    outputs = run(base, tmp_path / "out", config, simulator)
    assert outputs.real_episodes == len(simulator.jobs) == 24
    assert outputs.per_task == {"0": 12, "3": 12}
    assert outputs.updates * 2 == outputs.groups == 6
    assert outputs.parameter_change > 0
    starts = {}
    for job in simulator.jobs:
        starts.setdefault((job.task, job.index), []).append(job)
        assert (job.start, job.steps_after_success) == ("training", 0)
    assert [len(jobs) for jobs in starts.values()] == [4] * 6  # siblings share their start ...
    assert len({job.seed for job in simulator.jobs}) == 24  # ... and differ in what is sampled
    assert not (tmp_path / "out" / "acting").exists()


@pytest.mark.parametrize(
    ("budget", "expected"), [(4, (1, 1)), (12, (3, 1)), (24, (3, 2)), (25, (3, 2)), (200, (25, 2))]
)
def test_the_schedule_fits_the_budget(budget, expected):
    updates, groups = online.PolicyOnlineConfig(RL, real_episodes=budget).schedule()
    assert (updates, groups) == expected
    assert updates * groups * RL.group_size <= budget


@pytest.mark.parametrize(("budget", "expected"), [(4, (1, 1)), (12, (1, 2)), (40, (5, 2)), (200, (25, 2))])
def test_updates_give_way_where_groups_must_not(budget, expected):
    config = online.PolicyOnlineConfig(RL, real_episodes=budget, least_groups=8)
    assert config.schedule() == expected


def test_a_budget_below_one_group_is_refused():
    with pytest.raises(WovrError, match="does not pay for one group of 4"):
        online.PolicyOnlineConfig(RL, real_episodes=3).schedule()


def test_interrupted_it_ends_the_same(base, tmp_path):
    config = online.PolicyOnlineConfig(RL, real_episodes=24, max_steps=8)
    whole = run(base, tmp_path / "whole", config, Simulator())
    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path / "broken", config, Simulator(limit=13))
    resumed = Simulator()
    outputs = run(base, tmp_path / "broken", config, resumed)
    assert len(resumed.jobs) == 16  # the update under way is run again
    assert outputs.version == whole.version
    assert replace(outputs, policy="") == replace(whole, policy="")
    lines = [json.loads(text) for text in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]


@pytest.mark.slow
def test_success_becomes_more_likely(base, tmp_path):
    rl = replace(RL, updates=12, groups=1, group_size=24, learning_rate=1e-2)
    config = online.PolicyOnlineConfig(rl, real_episodes=12 * 24, max_steps=8)
    run(base, tmp_path / "out", config, Simulator())
    lines = [json.loads(text) for text in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["success_rate"] for line in lines]
    assert np.mean(rates[-4:]) > np.mean(rates[:3]) + 0.15


def test_the_policy_draws_as_it_would_in_imagination(base, tmp_path):
    pool = Simulator()
    config = online.PolicyOnlineConfig(replace(RL, correlation=0.6), real_episodes=8)
    inputs = online.PolicyOnlineInputs(LiberoConfig(size=16), (0,), base, 0, pool)
    online.run(config, inputs, tmp_path / "online")
    assert {job.correlation for job in pool.jobs} == {0.6}
