"""Measures of imagined frames on pictures whose difference is known."""

import numpy as np
import pytest
import torch

from wovr_core.errors import MissingDependencyError, UnknownNameError
from wovr_core.pictures import ssim
from wovr_core.stages.measure_world_model import compare
from wovr_core.world_model.measures import standard
from wovr_core.world_model.measures.optical_flow import dense_flow, motion_error
from wovr_core.world_model.measures.probe import ProbeConfig, build
from wovr_core.world_model.measures.random_features import random_feature_distance


def texture(shift: int, size: int = 64) -> np.ndarray:
    """A smooth random texture, moved to the right by `shift` pixels."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal((size, size + 64, 3))
    smooth = gaussian_filter(noise, (2, 2, 0))
    wide = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    return wide[:, 32 - shift : 32 - shift + size]


def test_ssim_takes_single_pictures_and_stacks() -> None:
    a, b = texture(0), texture(1)
    assert ssim(np.stack([a, a]), np.stack([a, b])) == pytest.approx((1 + ssim(a, b)) / 2)


def test_random_features_are_fixed_and_grow_with_the_difference() -> None:
    clip = texture(0)[None]
    rng = np.random.default_rng(1)
    distances = []
    for noise in (0, 10, 40):
        other = np.clip(clip + rng.normal(0, noise, clip.shape), 0, 255).astype(np.uint8)
        distances.append(random_feature_distance(clip, other))
    assert distances[0] == 0 < distances[1] < distances[2]
    before = torch.get_rng_state()
    assert random_feature_distance(clip, texture(2)[None]) == random_feature_distance(clip, texture(2)[None])
    assert torch.equal(before, torch.get_rng_state())


def test_flow_finds_a_known_shift() -> None:
    flow = dense_flow(texture(0), texture(2))[16:-16, 16:-16]
    assert flow[..., 0].mean() == pytest.approx(2, abs=0.2)
    assert flow[..., 1].mean() == pytest.approx(0, abs=0.2)


def test_motion_error_of_truth_stillness_and_the_wrong_way() -> None:
    real = np.stack([texture(t // 2) for t in range(12)])
    middle = np.zeros(real.shape[:3], dtype=bool)
    middle[:, 20:-20, 20:-20] = True
    assert motion_error(real, real, middle)[0] == 0
    still, length = motion_error(real, np.repeat(real[:1], 12, axis=0), middle)
    assert still == pytest.approx(length) == pytest.approx(2, abs=0.3)
    back = np.stack([texture(-(t // 2)) for t in range(12)])
    assert motion_error(real, back, middle)[0] == pytest.approx(4, abs=0.5)
    assert all(np.isnan(v) for v in motion_error(real, real, np.zeros_like(middle)))


def squares(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two squares, red ("gripper") and green ("object"), at random places; positions in m: 1 cm a pixel."""
    rng = np.random.default_rng(count)
    frames = np.full((count, 32, 32, 3), 40, dtype=np.uint8)
    places = rng.integers(4, 27, (count, 2, 2))
    for frame, place in zip(frames, places, strict=True):
        for channel, (y, x) in enumerate(place):
            frame[y - 3 : y + 3, x - 3 : x + 3, channel] = 240
    return frames, np.concatenate([places / 100, np.full((count, 2, 1), 0.9)], axis=2).astype(np.float32)


@pytest.fixture(scope="module")
def probe():
    frames, positions = (torch.from_numpy(v) for v in squares(800))
    net = build(ProbeConfig(image_size=32, width=16, keypoints=8, hidden=64, tasks=2), seed=1)
    net.fit_scale(positions)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        chosen = torch.randint(len(frames), (48,), generator=generator)
        loss, _ = net.loss(frames[chosen], torch.zeros(48, dtype=torch.long), positions[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def test_the_probe_learns_where_things_are(probe) -> None:
    frames, positions = squares(100)
    error = 100 * np.linalg.norm(probe.locate(frames, 0) - positions, axis=-1).mean(axis=0)
    spread = 100 * np.linalg.norm(positions - positions.mean(axis=0), axis=-1).mean(axis=0)
    assert (error < spread / 3).all(), (error, spread)


def test_object_error_sees_a_thing_in_the_wrong_place(probe, make_episode) -> None:
    """The rest of the picture may be perfect."""
    episode = make_episode(length=16, size=32)
    frames, positions = squares(2)
    there, elsewhere = frames
    episode.frames[:9] = frames[0]
    episode.frames[9:] = there
    episode.frames[9:, 0, 0] = np.arange(8)[:, None]  # something moves
    true = positions[0]
    right = np.repeat(there[None], 16, axis=0)
    wrong = np.repeat(elsewhere[None], 16, axis=0)
    good, bad = (compare(probe, episode, made, 16, true, true) for made in (right, wrong))
    assert good["gripper_error_cm"] == pytest.approx(good["gripper_floor_cm"], abs=0.5)
    assert good["object_still_cm"] == 0
    moved = (100 * np.linalg.norm(positions[1] - positions[0], axis=-1)).tolist()
    assert bad["gripper_error_cm"] == pytest.approx(moved[0], abs=0.5 * moved[0])
    assert bad["object_error_cm"] == pytest.approx(moved[1], abs=0.5 * moved[1])
    assert bad["mse"] > good["mse"]
    assert bad["random_feature_distance"] > good["random_feature_distance"]


def test_standard_metrics_say_what_they_need() -> None:
    clip = np.zeros((1, 8, 16, 16, 3), dtype=np.uint8)
    reasons = standard.missing()
    assert "package index" in reasons["flolpips"]
    with pytest.raises(UnknownNameError, match="did you mean 'lpips'"):
        standard.compute("lpip", clip, clip)
    for metric in reasons:
        with pytest.raises(MissingDependencyError, match=metric):
            standard.compute(metric, clip, clip)
