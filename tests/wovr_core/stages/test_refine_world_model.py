"""What decides on promotion, on episodes that are short, or in which nothing happens."""

import math
from dataclasses import replace

import numpy as np
import pytest

from wovr_core.model_files import REWARD, WORLD_MODEL, save_model
from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages import refine_world_model
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.refine_world_model import RefineConfig, RefineInputs, RefineOutputs, world_model_error
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModelConfig, build


@pytest.fixture(scope="module")
def model():
    codec = AutoencoderConfig(image_size=16, width=16, latent_channels=4)
    return build(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()


def test_episodes_that_show_no_motion_or_last_less_than_a_chunk_do_not_spoil_the_measure(model, make_episode):
    episode = make_episode(length=17, size=16)
    still = replace(episode, frames=np.repeat(episode.frames[:1], 18, axis=0))
    short = make_episode(length=5, close=1, release=3, size=16)
    plain = world_model_error(model, [episode], 1, seed=3)
    assert plain > 0
    assert world_model_error(model, [episode, short], 1, seed=3) == plain
    assert math.isfinite(world_model_error(model, [still], 1, seed=3))
    assert math.isnan(world_model_error(model, [short], 1, seed=3))  # decides nothing: the old model stays


def test_a_finished_refinement_is_told_without_loading_a_model(model, tmp_path, monkeypatch):
    def never(path):
        raise AssertionError(f"loads {path}")

    world_model = save_model(tmp_path / "w", WORLD_MODEL, model, lineage={})
    reward = save_model(tmp_path / "r", REWARD, build_reward(RewardConfig(image_size=16, width=8)), lineage={})
    versions = {"episodes": "v1,v2", "world_model": world_model, "reward": reward, "seed": "3"}
    config, done = RefineConfig(), RefineOutputs("w", "r", True, False, {}, {}, 4)
    StageFolder(tmp_path / "out", "refine_world_model", config, versions).finish(done)
    monkeypatch.setattr(refine_world_model, "load_world_model", never)
    monkeypatch.setattr(refine_world_model, "load_reward", never)
    inputs = RefineInputs(
        ("old",), "new", ("v1", "v2"), tmp_path / "w", tmp_path / "r", (), RewardTrainingConfig(), seed=3
    )
    assert refine_world_model.run(config, inputs, tmp_path / "out") == done
