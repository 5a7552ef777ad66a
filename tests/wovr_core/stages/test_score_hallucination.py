"""Scoring rollouts with worlds whose noise is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.audit.hallucination import DISAGREEMENT, RIVALS
from wovr_core.stages.score_hallucination import HallucinationConfig, reconstruction_error, scores
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.env import ImaginationConfig, ImaginedStart, ImaginedStep
from wovr_core.world_model.model import WorldModelConfig, build


@pytest.fixture(scope="module")
def model():
    codec = AutoencoderConfig(image_size=16, width=16, latent_channels=4)
    return build(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()


class World:
    """Frames of one grey that shakes by `noise` with the seed; success where the grey is above the middle."""

    def __init__(self, model, noise: float, grey: float = 60.0) -> None:
        self.model, self.noise, self.grey = model, noise, grey
        self.config = ImaginationConfig(success_threshold=0.5)
        self.chunks = 0

    def reset(self, keyframes, seeds):
        draws = [np.random.default_rng(s).normal() for s in seeds]
        self.level = torch.tensor([self.grey + self.noise * d for d in draws]).clamp(0, 255)
        frames = self.level.view(-1, 1, 1, 1).expand(-1, 16, 16, 3).byte()
        return ImaginedStart(frames, torch.zeros(len(seeds)), torch.zeros(len(seeds), 7))

    def step(self, actions):
        self.chunks += 1
        frames = self.level.view(-1, 1, 1, 1, 1).expand(-1, 8, 16, 16, 3).byte()
        p = (self.level > 128).float()[:, None].expand(-1, 8)
        flags = torch.zeros(len(actions), dtype=torch.bool)
        return ImaginedStep(frames, p, p >= 0.5, flags, flags)


def rollout_of(make_rollout, success_at):
    rollout = make_rollout(success_at=success_at, size=16)
    return replace(rollout, frames=np.full_like(rollout.frames, 60))


def test_a_world_that_is_sure_of_itself_scores_zero(make_rollout, model):
    world = World(model, noise=0)
    found = scores(rollout_of(make_rollout, None), world, World(model, noise=0), HallucinationConfig(), seed=3)
    assert found.keys() == {*DISAGREEMENT, *RIVALS}
    assert all(found[name] == 0 for name in DISAGREEMENT)
    assert found["depth"] == 32
    assert found["reward_doubt"] == pytest.approx(0.2, abs=1e-6)  # p_success is 0.1 throughout


def test_noise_and_other_weights_show_in_their_own_scores(make_rollout, model):
    rollout = rollout_of(make_rollout, None)
    shaky = scores(rollout, World(model, 40), World(model, 0), HallucinationConfig(seeds=6), seed=3)
    assert shaky["seed_frames"] > 5
    assert shaky["weights_frames"] == 0
    moved = scores(rollout, World(model, 0), World(model, 0, grey=200), HallucinationConfig(), seed=3)
    assert moved["weights_frames"] == pytest.approx(70)
    assert moved["weights_success"] == 1
    assert moved["seed_success"] == 0


def test_a_success_that_no_other_noise_confirms_is_suspicious(make_rollout, model):
    world = World(model, noise=0)
    found = scores(rollout_of(make_rollout, 12), world, World(model, 0), HallucinationConfig(), seed=3)
    assert found["seed_success"] == found["weights_success"] == 1
    assert found["depth"] == 12
    assert world.chunks == 2  # no further than the decisive frame's chunk


def test_reconstruction_error_is_the_codecs(model):
    frames = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        again = model.codec.decode_frames(model.codec.encode_frames(torch.from_numpy(frames))).numpy()
    expected = np.abs(again.astype(int) - frames.astype(int)).mean()
    assert reconstruction_error(model, frames) == pytest.approx(expected, abs=0.6)  # bf16 rounds
