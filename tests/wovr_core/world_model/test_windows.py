import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.stages.train_world_model import TransformerTraining
from wovr_core.world_model.windows import CONTACT_LEAD, CONTACT_TAIL, FrameWindows, contact_weights


def grasping(length: int = 80, close: int = 40) -> np.ndarray:
    actions = np.zeros((length, 7), np.float32)
    actions[:, 6] = np.where(np.arange(length) < close, -1, 1)
    return actions


def test_windows_around_a_grasp_are_drawn_as_many_times_as_often():
    actions = grasping()
    weights = contact_weights(actions, 5.0)
    around = np.flatnonzero(weights == 5)
    assert (around[0], around[-1], len(weights)) == (40 - CONTACT_LEAD, 40 + CONTACT_TAIL, 81)
    assert set(weights) == {1.0, 5.0}

    frames = np.arange(81, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    windows = FrameWindows([frames], [actions], [weights])
    generator = torch.Generator().manual_seed(0)
    drawn, _ = windows.sample(4000, generator)
    newest = drawn[:, 4, 0, 0, 0].numpy()
    near = weights[newest] == 5
    expected = 5 * 29 / (5 * 29 + (73 - 29))
    assert abs(near.mean() - expected) < 0.03


def test_an_episode_without_a_grasp_is_drawn_evenly():
    assert (contact_weights(grasping(close=200), 5.0) == 1).all()


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(WovrError, match=r"contact_weight must be above 0"):
        TransformerTraining(contact_weight=0)
