"""RLinf's reward model learns from our episodes and lies there as RLinf reads it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.data.episode_files import write_episode
from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward, from_state
from wovr_core.stages.train_rlinf_reward import RlinfRewardConfig, RlinfRewardInputs, measure, run
from wovr_core.world_model.rlinf import load_state


@pytest.mark.parametrize("told", [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_learns_what_success_looks_like(make_episode, tmp_path, told):
    for i in range(4):
        episode = make_episode(f"e{i}", length=20, success_at=12, close=3, release=9, size=32)
        frames = np.random.default_rng(i).integers(0, 60, episode.frames.shape).astype(np.uint8)
        frames[episode.success, 8:24, 8:24] += 150  # a bright square where it succeeded
        write_episode(tmp_path / "episodes", replace(episode, frames=frames))
    config = RlinfRewardConfig(steps=30, batch=8, held_out=1, told_the_task=told, learning_rate=1e-3)
    inputs = RlinfRewardInputs((str(tmp_path / "episodes"),), ("v",), seed=0)
    before = torch.get_rng_state()
    done = run(config, inputs, tmp_path / "out")
    assert torch.equal(torch.get_rng_state(), before)
    model = from_state(load_state(tmp_path / "out" / done.reward), [episode.task.instruction])
    assert isinstance(model, TaskEmbedReward if told else ResnetReward)
    held = [replace(episode, frames=frames)]
    bright, dark = (model(torch.from_numpy(frames[m]), [episode.task.instruction] * int(m.sum())).mean()
                    for m in (episode.success, ~episode.success))  # fmt: skip
    assert bright > dark + 0.1
    assert all(0 <= rate <= 1 for rate in measure(model, held))
    assert run(config, inputs, tmp_path / "out") == done
