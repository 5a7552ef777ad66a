"""The quality report's numbers, computed another way."""

from collections.abc import Callable

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.pictures import psnr, ssim
from wovr_core.types import FloatArray, Frames
from wovr_core.world_model.closed_loop import imagine_episode
from wovr_core.world_model.model import WorldModel
from wovr_core.world_model.motion import moving_error, moving_region
from wovr_core.world_model.quality import closed_loop_psnr, evaluate

EpisodeMaker = Callable[..., tuple[Frames, FloatArray]]


def test_psnr_by_hand() -> None:
    a = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    b = a.copy()
    b[0, 0, 0] = 51
    assert psnr(a, b) == pytest.approx(10 * np.log10(255**2 / (51**2 / 4)))
    mask = np.zeros((1, 2, 2), dtype=bool)
    mask[0, 0, 0] = True
    assert psnr(a, b, mask) == pytest.approx(20 * np.log10(5))
    assert np.isnan(psnr(a, b, np.zeros((1, 2, 2), dtype=bool)))


def test_ssim_of_constant_pictures_is_the_luminance_term() -> None:
    a, b = np.full((1, 16, 16, 3), 100, dtype=np.uint8), np.full((1, 16, 16, 3), 150, dtype=np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), rel=1e-6)


def test_report_agrees_with_the_rollout_it_measures(small_model: WorldModel, make: EpisodeMaker) -> None:
    frames, actions = make(0)
    report = evaluate(small_model, [(frames, actions)], horizons=(8, 16, 64), solver_steps=1, seed=5)
    assert report.horizons == (8, 16)
    assert report.episodes == (1, 1)
    made = imagine_episode(small_model, frames, actions, 2, 1, seed=5)
    moving = moving_region(frames)
    assert made.shape == (16, 32, 32, 3)
    assert report.psnr[1] == pytest.approx(psnr(made[8:], frames[9:17]), abs=1e-3)
    assert report.psnr_moving[1] == pytest.approx(psnr(made[8:], frames[9:17], moving[9:17]), abs=1e-3)
    still = np.repeat(frames[:1], 8, axis=0)
    assert report.frozen_psnr_moving[0] == pytest.approx(psnr(still, frames[1:9], moving[1:9]), abs=1e-3)
    assert report.frames_per_second > 0


def test_each_episode_is_measured_apart_and_as_the_report_does(small_model: WorldModel, make: EpisodeMaker) -> None:
    episodes = [make(0), make(1)]
    table = closed_loop_psnr(small_model, episodes, (8, 16, 64), solver_steps=1, seed=5)
    assert table.shape == (2, 3)
    assert np.isnan(table[:, 2]).all(), "no episode is so long"
    alone = [evaluate(small_model, [e], (8, 16), 1, seed=5 + i).psnr_moving for i, e in enumerate(episodes)]
    np.testing.assert_allclose(table[:, :2], alone, atol=1e-4)
    swapped = closed_loop_psnr(small_model, episodes, (8,), seed=5, given=[episodes[1][1], episodes[0][1]])
    made = imagine_episode(small_model, episodes[0][0], episodes[1][1], 1, 1, seed=5)
    frames = episodes[0][0]
    assert swapped[0, 0] == pytest.approx(psnr(made, frames[1:9], moving_region(frames)[1:9]), abs=1e-3)
    with pytest.raises(WovrError, match="multiples of 8"):
        closed_loop_psnr(small_model, episodes, (9,))


def test_only_frames_up_to_the_start_are_seen(small_model: WorldModel, make: EpisodeMaker) -> None:
    frames, actions = make(0)
    other = frames.copy()
    other[9:] = 0
    one = imagine_episode(small_model, frames, actions, 1, 1, seed=0, start=8)
    assert np.array_equal(one, imagine_episode(small_model, other, actions, 1, 1, seed=0, start=8))


def test_an_episode_shorter_than_a_chunk_is_measured_as_far_as_it_goes(
    small_model: WorldModel, make: EpisodeMaker
) -> None:
    frames, actions = make(0)
    short, long = (frames[:6], actions[:5]), (frames, actions)
    assert imagine_episode(small_model, *short, 0, 1, seed=0).shape == (0, 32, 32, 3)
    report = evaluate(small_model, [short, long], horizons=(8,), solver_steps=1, seed=4)
    assert report.episodes == (1,)
    assert report.psnr == evaluate(small_model, [long], horizons=(8,), solver_steps=1, seed=5).psnr
    assert evaluate(small_model, [short], horizons=(8,), solver_steps=1).horizons == ()


def test_the_error_is_taken_where_something_moves_if_anything_does() -> None:
    real = np.full((2, 2, 2, 3), 100, dtype=np.uint8)
    imagined = real.copy()
    imagined[0, 0, 0], imagined[1] = 140, 90
    moving = np.zeros((2, 2, 2), dtype=bool)
    assert moving_error(imagined, real, moving) == pytest.approx((40 + 4 * 10) / 8)
    moving[0, 0] = True
    assert moving_error(imagined, real, moving) == 20


def test_bad_requests(small_model: WorldModel, make: EpisodeMaker) -> None:
    frames, actions = make(0)
    with pytest.raises(WovrError, match="no held-out"):
        evaluate(small_model, [])
    with pytest.raises(WovrError, match="multiples of 8"):
        evaluate(small_model, [(frames, actions)], horizons=(10,))
    with pytest.raises(WovrError, match="more than the episode"):
        imagine_episode(small_model, frames, actions, 4, 1, seed=0)
