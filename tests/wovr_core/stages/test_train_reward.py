"""The reward is taught on imagination: what is imagined must line up with what really happened."""

import numpy as np
import pytest
import torch

from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages.train_reward import RewardTrainingConfig, as_imagined, outcome_auroc
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModelConfig, build

SIZE = 16


@pytest.fixture(scope="module")
def world_model():
    codec = AutoencoderConfig(image_size=SIZE, width=16, latent_channels=4)
    return build(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()


@pytest.mark.parametrize("midst", [False, True])
def test_only_one_stretch_is_imagined(world_model, make_episode, monkeypatch, midst):
    """With a marked imagination, the frames of its stretch, and only they, carry the mark."""
    asked = []

    def marked(model, stretches, solver_steps):
        asked.extend(stretches)
        return [np.full((s.chunks * 8, SIZE, SIZE, 3), 77, np.uint8) for s in stretches]

    monkeypatch.setattr("wovr_core.stages.train_reward.imagine_stretches", marked)
    episodes = [make_episode(f"e{i}", length=61, size=SIZE) for i in range(12)]
    drawn = as_imagined(world_model, episodes, RewardTrainingConfig(imagined_chunks=5), seed=0, midst=midst)
    for episode, stretch in zip(drawn, asked, strict=True):
        assert 3 <= stretch.chunks <= 5
        end = stretch.start + stretch.chunks * 8
        carries = (episode.frames == 77).all(axis=(1, 2, 3))
        assert carries.tolist() == [stretch.start < t <= end for t in range(62)]
    ends = {s.start + s.chunks * 8 for s in asked}
    assert (ends == {61}) != midst


def test_it_is_a_function_of_the_seed_and_leaves_the_episode_alone(world_model, make_episode):
    episode = make_episode(length=30, size=SIZE)
    before = episode.frames.copy()
    config = RewardTrainingConfig()
    (first,), (again,) = (as_imagined(world_model, [episode], config, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(episode.frames, before)
    np.testing.assert_array_equal(first.success, episode.success)


def test_an_episode_shorter_than_a_chunk_goes_through_the_autoencoder_only(world_model, make_episode):
    episode = make_episode(length=5, close=1, release=3, size=SIZE)
    (drawn,) = as_imagined(world_model, [episode], RewardTrainingConfig(), seed=0)
    assert drawn.frames.shape == episode.frames.shape


def test_the_predicted_outcome_is_ranked_over_frames_before_success(world_model, make_episode, monkeypatch):
    episodes = [make_episode("won", length=24, size=SIZE, success_at=20), make_episode("lost", length=24, size=SIZE)]
    promises = {"won": np.linspace(0.2, 0.9, 25), "lost": np.full(25, 0.5)}

    class Oracle:
        class config:
            outcome = True

        def __init__(self):
            self.asked = iter(promises.values())

        def p_outcome(self, frames, embeddings):
            assert len(frames) == len(embeddings) == 25
            return torch.from_numpy(next(self.asked))

    before = promises["won"][: int(episodes[0].success.argmax())]
    expected = np.mean([(p > 0.5) + 0.5 * (p == 0.5) for p in before])
    found = outcome_auroc(Oracle(), world_model, episodes, RewardTrainingConfig(), seed=0)
    assert found == pytest.approx(expected)
    assert outcome_auroc(Oracle(), world_model, episodes[1:], RewardTrainingConfig(), seed=0) is None
    silent = build_reward(RewardConfig(image_size=SIZE, width=8))
    assert outcome_auroc(silent, world_model, episodes, RewardTrainingConfig(), seed=0) is None
