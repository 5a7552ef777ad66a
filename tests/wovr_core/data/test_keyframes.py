from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from wovr_core.data.keyframe_files import read_keyframes, write_keyframes
from wovr_core.data.keyframes import KeyframeConfig, critical_moments, select_keyframes
from wovr_core.errors import CorruptFileError
from wovr_core.types import Episode


def test_moments_of_a_success_end_with_it(make_episode):
    episode = make_episode(success_at=25, close=10, release=30)
    assert critical_moments(episode, None, 10.0) == {"contact": [10]}


def test_moments_of_a_failure(make_episode):
    episode = make_episode(close=10, release=30)
    divergence = np.zeros(41, np.float32)
    divergence[22:] = 11
    moments = critical_moments(episode, divergence, 10.0)
    assert moments == {"contact": [10], "release": [30], "before_failure": [40], "divergence": [22]}


def test_shares_and_leads(make_episode):
    episodes = [make_episode(f"s{i}", success_at=32) for i in range(5)] + [make_episode(f"f{i}") for i in range(3)]
    config = KeyframeConfig(count=200, initial_share=0.25, failure_share=0.8, lead_min=4, lead_max=9)
    chosen = select_keyframes(episodes, config, np.random.default_rng(0))
    assert Counter(k.reason for k in chosen)["initial"] == 50
    later = [k for k in chosen if k.reason != "initial"]
    failures = sum(k.start.episode_id.startswith("f") for k in later)
    assert 0.7 < failures / len(later) < 0.9
    decisive = {"contact": [10], "release": [30], "before_failure": [40]}
    for k in later:
        assert any(4 <= moment - k.start.step <= 9 for moment in decisive[k.reason])


def test_first_contact_leaves_out_what_a_failure_does_afterwards(make_episode):
    failure = make_episode(close=10, release=20)
    failure.actions[30:, 6] = 1.0  # it grasps once more
    config = KeyframeConfig(count=40, initial_share=0.25, lead_min=4, lead_max=6, first_contact=True)
    chosen = select_keyframes([failure], config, np.random.default_rng(0))
    assert Counter(k.reason for k in chosen) == {"initial": 10, "contact": 30}
    assert {k.start.step for k in chosen if k.reason == "contact"} == {4, 5, 6}
    never = make_episode("never", close=99)
    chosen = select_keyframes([never], config, np.random.default_rng(0))
    assert {k.reason for k in chosen} == {"initial", "before_failure"}


def test_the_same_generator_gives_the_same_keyframes(make_episode):
    episodes = [make_episode(f"f{i}") for i in range(3)]
    picks = [
        [(k.start, k.reason) for k in select_keyframes(episodes, KeyframeConfig(count=20), np.random.default_rng(4))]
        for _ in range(2)
    ]
    assert picks[0] == picks[1]


def test_files_keep_states_of_unlike_length(tmp_path, make_episode):
    import dataclasses

    short = make_episode("a")
    long = dataclasses.replace(make_episode("b"), sim_states=np.random.default_rng(0).standard_normal((41, 17)))
    real = dataclasses.replace(make_episode("arm"), sim_states=None)
    chosen = select_keyframes([short, long, real], KeyframeConfig(count=12), np.random.default_rng(0))
    path = tmp_path / "keyframes.safetensors"
    version = write_keyframes(path, chosen)
    again = read_keyframes(path)
    assert {None if k.sim_state is None else len(k.sim_state) for k in again} == {None, 11, 17}
    for a, b in zip(chosen, again, strict=True):
        assert (a.task, a.start, a.reason) == (b.task, b.start, b.reason)
        np.testing.assert_array_equal(a.sim_state, b.sim_state)
        np.testing.assert_array_equal(a.context_frames, b.context_frames)
    assert write_keyframes(path, again) == version


@pytest.mark.fault
def test_a_damaged_file_is_named(tmp_path, make_episode):
    path = tmp_path / "keyframes.safetensors"
    write_keyframes(path, select_keyframes([make_episode()], KeyframeConfig(count=3), np.random.default_rng(0)))
    whole = path.read_bytes()
    for damaged in (
        whole[:-50],
        whole.replace(b"episode_id", b"episode_ib"),
        whole.replace(b"context_a", b"context_b"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"keyframes\.safetensors is not a keyframe file"):
            read_keyframes(path)
    path.write_bytes(whole.replace(b'\\"schema\\": 1', b'\\"schema\\": 9'))
    with pytest.raises(CorruptFileError, match="has keyframe format 9, this version reads 1"):
        read_keyframes(path)


def test_two_rounds_of_collecting_may_use_the_same_ids(make_episode: Callable[..., Episode]) -> None:
    """The evolved policy's episodes are called like the base policy's; a divergence belongs to one of them."""
    short, long = make_episode("same", length=16, close=2, release=4), make_episode("same", length=40)
    late = np.zeros(41, np.float32)
    late[35:] = 99
    config = KeyframeConfig(count=60, initial_share=0.0, lead_min=0, lead_max=0)
    chosen = select_keyframes([short, long], config, np.random.default_rng(0), [None, late])
    divergent = [k for k in chosen if k.reason == "divergence"]
    assert divergent
    assert {k.start.step for k in divergent} == {35}
    assert all(np.array_equal(k.context_frames[-1], long.frames[35]) for k in divergent)
