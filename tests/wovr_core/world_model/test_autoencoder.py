"""The codec learns, reports what moves apart, groups time; windows and motion are cut where they should be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from wovr_core.data.segments import window_indices
from wovr_core.errors import WovrError
from wovr_core.types import NULL_ACTION, FloatArray, Frames
from wovr_core.world_model.autoencoder import AutoencoderConfig, TinyFrameCodec
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.motion import background, moving_region
from wovr_core.world_model.windows import LatentWindows

EpisodeMaker = Callable[..., tuple[Frames, FloatArray]]


def test_training_learns_what_moves(make: EpisodeMaker) -> None:
    frames = np.concatenate([make(i)[0] for i in range(3)])
    moving = torch.from_numpy(np.concatenate([moving_region(make(i)[0]) for i in range(3)]))
    data = torch.from_numpy(frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = TinyFrameCodec(
            AutoencoderConfig(image_size=32, latent_channels=4, width=24, blocks=(1, 1), unshuffle=4)
        )
    codec.fit_mean(data)
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(codec.parameters(), 3e-3)
    codec.train()
    first = codec.loss(data, moving, g)[1]
    for _ in range(120):
        i = torch.randint(len(data), (16,), generator=g)
        loss, _ = codec.loss(data[i], moving[i], g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert codec.net.encoder.layers[0].weight.grad.abs().sum() > 0  # decode(encode(x)), not the quantising forward
    codec.fit_latents(data)
    last = codec.eval().loss(data, moving, g)[1]
    assert last["ae/psnr_moving"] > first["ae/psnr_moving"] + 4
    latents = codec.encode_frames(data)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1
    still = codec.decode_frames(latents).float() - data.float()
    error = still.square().mean(dim=-1)
    assert last["ae/psnr"] == pytest.approx(float(10 * torch.log10(255**2 / error.mean())), abs=2.0)


def test_grouping_and_back(small_model: WorldModel) -> None:
    codec = small_model.codec
    frame_latents = torch.randn(2, 13, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    grouped = codec.group(frame_latents)
    assert grouped.shape == (2, 4, 16, 4, 4)
    assert torch.equal(codec.ungroup(grouped)[:, 3:], frame_latents)
    assert torch.equal(grouped[:, 0, :4], grouped[:, 0, 12:])
    with pytest.raises(ValueError, match="1 \\+ 4 k"):
        codec.group(frame_latents[:, :12])


def test_decoding_the_last_frames_only(small_model: WorldModel, make: EpisodeMaker) -> None:
    frames = torch.from_numpy(make(0)[0][None, :13].copy())
    latents = small_model.codec.encode(frames)
    whole = small_model.codec.decode(latents)
    assert (whole.shape, whole.dtype) == (frames.shape, torch.uint8)
    assert (small_model.codec.decode(latents, last=8).int() - whole[:, 5:].int()).abs().max() <= 1


def test_frames_that_do_not_fit_are_named(small_model: WorldModel) -> None:
    with pytest.raises(WovrError, match="32 x 32 x 3"):
        small_model.codec.encode(torch.zeros(1, 13, 64, 64, 3, dtype=torch.uint8))
    with pytest.raises(WovrError, match="multiple"):
        TinyFrameCodec(AutoencoderConfig(image_size=36, unshuffle=4, blocks=(1, 1)))


def test_moving_region_is_the_square_only() -> None:
    frames = np.full((9, 16, 16, 3), 50, dtype=np.uint8)
    for t in range(9):
        frames[t, 4:7, t + 2 : t + 5] = 200
    assert np.array_equal(background(frames[:, 10:]), np.full((6, 16, 3), 50))
    mask = moving_region(frames, grow=0)
    assert mask[0, 4:7, 2:5].all()
    assert mask[0].sum() == 9
    assert moving_region(frames, grow=1)[0].sum() == 25


def test_windows_hold_the_actions_that_produced_their_frames(small_model: WorldModel, make: EpisodeMaker) -> None:
    made = [make(0), make(1, length=8)]
    data = LatentWindows(small_model.codec, [f for f, _ in made], [a for _, a in made])
    assert len(data) == (24 - 8 + 1) + 1
    latents, actions = data.gather([10, 17])
    produced = np.concatenate([NULL_ACTION[None], made[0][1]])
    np.testing.assert_allclose(actions[0].numpy(), produced[window_indices(10)])
    np.testing.assert_allclose(actions[1, :5].numpy(), np.repeat(NULL_ACTION[None], 5, axis=0))
    np.testing.assert_allclose(actions[1, 5:].numpy(), made[1][1])
    direct = small_model.codec.encode(torch.from_numpy(made[0][0][window_indices(10)][None].copy()))
    torch.testing.assert_close(latents[:1], direct, rtol=0, atol=0.05)  # cached as float16, encoded in bf16


def test_weights_and_masked_ends_choose_the_windows(small_model: WorldModel, make: EpisodeMaker) -> None:
    frames, actions = make(0)
    data = LatentWindows(small_model.codec, [frames, frames], [actions, actions], weights=[0.0, 1.0], ends=[25, 12])
    assert len(data) == 17 + 4
    assert data.starts[17:, 1].tolist() == [0, 1, 2, 3]
    drawn = torch.multinomial(data._chances, 50, replacement=True, generator=torch.Generator().manual_seed(0))
    assert drawn.min() >= 17
    with pytest.raises(WovrError, match="long enough"):
        LatentWindows(small_model.codec, [frames[:5]], [actions[:4]])
    with pytest.raises(WovrError, match="one frame more"):
        LatentWindows(small_model.codec, [frames], [actions[:-1]])
