import numpy as np
import pytest

from wovr_core.data.segments import gripper_changes, keyframe, producing_actions, split_ids, window_indices
from wovr_core.errors import WovrError
from wovr_core.types import NULL_ACTION


def test_the_first_frame_fills_the_context_at_the_beginning():
    assert window_indices(0).tolist() == [0, 0, 0, 0, 0, *range(1, 9)]
    assert window_indices(2).tolist() == [0, 0, 0, 1, 2, *range(3, 11)]
    assert window_indices(np.array([10, 9]))[0].tolist() == [0, 7, 8, 9, 10, *range(11, 19)]


@pytest.mark.parametrize("step", [0, 1, 3, 17, 32])
def test_each_row_carries_the_action_that_produced_its_frame(make_episode, step):
    episode = make_episode()
    rows = window_indices(step)
    produced = producing_actions(episode.actions)
    assert len(produced) == len(episode.frames)
    for frame, action in zip(episode.frames[rows], produced[rows], strict=True):
        number = int(frame[0, 0, 0])  # the fixture writes each frame's number into its pixels
        expected = NULL_ACTION if number == 0 else episode.actions[number - 1]
        np.testing.assert_array_equal(action, expected)


def test_a_change_is_the_first_action_with_the_new_command():
    actions = np.zeros((7, 7), np.float32)
    actions[:, 6] = [-1, -1, 1, 1, 0.2, -1, -1]
    assert gripper_changes(actions).tolist() == [2, 5]
    assert gripper_changes(actions[:1]).tolist() == []


def test_a_keyframe_carries_the_state_of_its_last_frame(make_episode):
    episode = make_episode()
    start = keyframe(episode, 11, "contact")
    assert start.context_frames[:, 0, 0, 0].tolist() == [0, 8, 9, 10, 11]
    np.testing.assert_array_equal(start.sim_state, episode.sim_states[11])
    np.testing.assert_array_equal(start.context_actions[-1], episode.actions[10])


def test_the_split_is_stable_and_disjoint():
    ids = [f"e{i}" for i in range(20)]
    train, held = split_ids(ids, 5)
    assert len(held) == 5
    assert set(train) | set(held) == set(ids)
    assert not set(train) & set(held)
    assert split_ids(ids[::-1], 5) == (train, held)
    for count in (0, -1, 20, 25):
        with pytest.raises(WovrError, match=f"held_out is {count} of 20 episodes"):
            split_ids(ids, count)
