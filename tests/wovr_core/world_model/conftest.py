"""A world small enough to learn in seconds: a bright square on a textured floor, moved by the first two actions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from wovr_core.types import NULL_ACTION, FloatArray, Frames, Keyframe, Start, TaskId
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModel, WorldModelConfig, build

SIZE = 32


def square_episode(seed: int, length: int = 24) -> tuple[Frames, FloatArray]:
    """frames (T+1, 32, 32, 3), actions (T, 7)."""
    rng = np.random.default_rng(seed)
    floor = np.random.default_rng(0).integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    actions = np.zeros((length, 7), dtype=np.float32)
    actions[:, :2] = rng.uniform(-1, 1, (length, 2))
    actions[:, 6] = -1
    place = np.array([SIZE / 2, SIZE / 2])
    frames = []
    for action in [np.zeros(7), *actions]:
        place = np.clip(place + 2 * action[:2], 3, SIZE - 4)
        frame = floor.copy()
        y, x = place.round().astype(int)
        frame[y - 3 : y + 3, x - 3 : x + 3] = (250, 40, 40)
        frames.append(frame)
    return np.stack(frames), actions


@pytest.fixture(scope="session")
def make() -> Callable[..., tuple[Frames, FloatArray]]:
    """`square_episode`, for tests."""
    return square_episode


@pytest.fixture(scope="session")
def small_config() -> WorldModelConfig:
    codec = AutoencoderConfig(image_size=SIZE, latent_channels=4, width=16, blocks=(1, 1), unshuffle=4)
    return WorldModelConfig(codec=codec, layers=2, heads=2, head_dim=24)


def settle(model: WorldModel) -> None:
    """Give an untrained codec the mean picture and latent statistics of the toy world."""
    frames = torch.from_numpy(square_episode(0)[0])
    model.codec.fit_mean(frames)
    model.codec.fit_latents(frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(model.codec.net.decoder.layers[-1].weight, std=0.1)  # it begins silent


@pytest.fixture
def small_model(small_config: WorldModelConfig) -> WorldModel:
    model = build(small_config)
    settle(model)
    return model.eval()


@pytest.fixture
def keyframes() -> list[Keyframe]:
    out = []
    for i in range(3):
        frames, actions = square_episode(i)
        context = np.concatenate([NULL_ACTION[None], actions[6:10]]).astype(np.float32)
        out.append(
            Keyframe(
                task=TaskId("toy", i, f"move the square {i}"), start=Start(f"e{i}", 10), reason="contact",
                context_frames=frames[[0, 7, 8, 9, 10]], context_actions=context, sim_state=np.zeros(1),
            )
        )  # fmt: skip
    return out
