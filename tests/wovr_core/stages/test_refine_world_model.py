"""What decides on promotion, on episodes that are short, or in which nothing happens."""

import math
from dataclasses import replace

import numpy as np
import pytest

from wovr_core.stages.refine_world_model import world_model_error
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
