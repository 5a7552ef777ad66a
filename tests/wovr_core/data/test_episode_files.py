import dataclasses

import numpy as np
import pytest

from wovr_core.data.episode_files import (
    EpisodeSet,
    read_episode,
    read_episode_summary,
    read_rollout,
    write_episode,
    write_rollout,
)
from wovr_core.errors import CorruptFileError, UnknownNameError


def assert_same(left, right):
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


def test_an_episode_survives_the_round_trip(tmp_path, make_episode):
    episode = make_episode(success_at=33)
    path = write_episode(tmp_path, episode)
    assert_same(episode, read_episode(path))
    summary = read_episode_summary(path)
    assert (summary.id, summary.length, summary.succeeded) == ("e0", 40, True)


def test_optional_arrays_stay_absent(tmp_path, make_episode):
    episode = dataclasses.replace(make_episode(), sim_states=None, clean_actions=None)
    assert read_episode(write_episode(tmp_path, episode)).sim_states is None


def test_a_rollout_survives_the_round_trip(tmp_path, make_rollout):
    rollout = make_rollout(success_at=12)
    assert_same(rollout, read_rollout(write_rollout(tmp_path, rollout)))


def test_no_temporary_file_is_left(tmp_path, make_episode):
    write_episode(tmp_path, make_episode())
    assert [p.name for p in tmp_path.iterdir()] == ["e0.safetensors"]


@pytest.mark.fault
def test_damage_is_named(tmp_path, make_episode):
    path = write_episode(tmp_path, make_episode())
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:50], b"", b"\xff" * 200, whole[:8] + b"{" * 40 + whole[48:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"e0\.safetensors"):
            read_episode(path)


@pytest.mark.fault
def test_random_mutants_never_crash(tmp_path, make_episode):
    path = write_episode(tmp_path, make_episode())
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        mutant = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            mutant[int(rng.integers(0, 1200))] = int(rng.integers(256))
        path.write_bytes(bytes(mutant))
        try:
            read_episode(path)
        except CorruptFileError:
            refused += 1
    assert refused > 100  # most of the mutated bytes lie in the header


def test_a_rollout_is_not_an_episode(tmp_path, make_rollout):
    path = write_rollout(tmp_path, make_rollout())
    with pytest.raises(CorruptFileError, match="holds a rollout, not a episode"):
        read_episode(path)


def test_the_version_follows_the_content(tmp_path, make_episode):
    for name in ("a", "b"):
        write_episode(tmp_path / "one", make_episode(name))
        write_episode(tmp_path / "two", make_episode(name, length=41))
    versions = {EpisodeSet(tmp_path / s).write_index() for s in ("one", "two")}
    assert len(versions) == 2
    assert EpisodeSet(tmp_path / "one").write_index() in versions


def test_an_unknown_episode_is_suggested(tmp_path, make_episode):
    write_episode(tmp_path, make_episode("object-0-clean0001"))
    with pytest.raises(UnknownNameError, match="did you mean 'object-0-clean0001'"):
        EpisodeSet(tmp_path).read("object-0-clean0002")
