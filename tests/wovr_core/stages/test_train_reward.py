"""The reward is taught on imagination: what is imagined must line up with what really happened."""

import numpy as np
import pytest

from wovr_core.stages.train_reward import RewardTrainingConfig, as_imagined
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModelConfig, build

SIZE = 16


@pytest.fixture(scope="module")
def world_model():
    codec = AutoencoderConfig(image_size=SIZE, width=16, latent_channels=4)
    return build(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()


def test_only_the_last_chunks_are_imagined(world_model, make_episode, monkeypatch):
    """With a marked imagination, the frames after its start, and only they, carry the mark."""
    asked = {}

    def marked(model, frames, actions, chunks, solver_steps, seed, start):
        asked.update(chunks=chunks, start=start)
        return np.full((chunks * 8, SIZE, SIZE, 3), 77, np.uint8)

    monkeypatch.setattr("wovr_core.stages.train_reward.imagine_episode", marked)
    episode = make_episode(length=61, size=SIZE)
    drawn = as_imagined(world_model, episode, RewardTrainingConfig(imagined_chunks=5), seed=0)
    assert drawn.frames.shape == episode.frames.shape
    assert 3 <= asked["chunks"] <= 5
    assert asked["start"] + asked["chunks"] * 8 == episode.length
    carries = (drawn.frames == 77).all(axis=(1, 2, 3))
    assert carries.tolist() == [t > asked["start"] for t in range(62)]


def test_it_is_a_function_of_the_seed_and_leaves_the_episode_alone(world_model, make_episode):
    episode = make_episode(length=30, size=SIZE)
    before = episode.frames.copy()
    config = RewardTrainingConfig()
    first, again = (as_imagined(world_model, episode, config, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(episode.frames, before)
    np.testing.assert_array_equal(first.success, episode.success)


def test_an_episode_shorter_than_a_chunk_goes_through_the_autoencoder_only(world_model, make_episode):
    episode = make_episode(length=5, close=1, release=3, size=SIZE)
    assert as_imagined(world_model, episode, RewardTrainingConfig(), seed=0).frames.shape == episode.frames.shape
