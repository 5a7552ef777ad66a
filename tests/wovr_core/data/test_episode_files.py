import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from wovr_core.data import tensor_files
from wovr_core.data.array_codecs import decode
from wovr_core.data.episode_files import (
    EpisodeSet,
    read_episode,
    read_episode_summary,
    read_rollout,
    write_episode,
    write_rollout,
)
from wovr_core.errors import CorruptFileError, UnknownNameError, WovrError


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


def with_streams(episode):
    count = len(episode.frames)
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        episode,
        streams={
            "wrist": rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8),
            "depth": np.linspace(0.5, 3, count * 64, dtype=np.float32).reshape(count, 8, 8),
            "segmentation": np.tile(np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 5, (count, 1, 1)),
        },
    )


@pytest.mark.parametrize("codec", ["auto", "delta", "webp", "raw"])
def test_streams_and_frames_survive_every_codec(tmp_path, make_episode, codec):
    episode = with_streams(make_episode())
    back = read_episode(write_episode(tmp_path, episode, codec))
    assert_same(dataclasses.replace(episode, streams={}), dataclasses.replace(back, streams={}))
    assert set(back.streams) == {"wrist", "depth", "segmentation"}
    for name, stream in episode.streams.items():
        assert back.streams[name].dtype == stream.dtype
        np.testing.assert_array_equal(back.streams[name], stream)
    with pytest.raises(KeyError):
        back.streams["infrared"]
    again = read_episode(write_episode(tmp_path, dataclasses.replace(back, id="copy"), codec))
    np.testing.assert_array_equal(again.streams["depth"], episode.streams["depth"])


def test_streams_are_decoded_only_when_asked_for(tmp_path, make_episode, monkeypatch):
    path = write_episode(tmp_path, with_streams(make_episode()), "delta")
    decoded = []

    def noting(name, description, tensor):
        decoded.append(name)
        return decode(name, description, tensor)

    monkeypatch.setattr(tensor_files, "decode", noting)
    episode = read_episode(path)
    assert set(decoded) == {"frames", "sim_states"}
    assert episode.streams["wrist"].shape == (41, 8, 8, 3)
    assert decoded[2:] == ["stream.wrist"]
    path.unlink()
    with pytest.raises(CorruptFileError, match="cannot be read"):
        episode.streams["depth"]


def test_a_stream_of_another_length_is_refused(tmp_path, make_episode):
    episode = dataclasses.replace(make_episode(), streams={"wrist": np.zeros((3, 8, 8, 3), np.uint8)})
    with pytest.raises(WovrError, match="'wrist' has 3 entries for 41 frames"):
        write_episode(tmp_path, episode)


def test_files_of_format_1_are_read(tmp_path, make_episode):
    """As earlier versions wrote them: every array as it is, no word of encodings or streams."""
    episode = make_episode(success_at=3)
    arrays = {f.name: getattr(episode, f.name) for f in dataclasses.fields(episode)}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    meta = {
        "schema": 1, "type": "episode", "id": "e0", "suite": episode.task.suite, "task": episode.task.task,
        "instruction": episode.task.instruction, "seed": episode.seed, "source": episode.source,
        "length": episode.length, "succeeded": True, "info": episode.info, "fps": 20, "frame_stride": 1,
        "picture_convention": "rotated_180",
    }  # fmt: skip
    save_file(arrays, tmp_path / "e0.safetensors", metadata={"wovr": json.dumps(meta)})
    assert_same(episode, read_episode(tmp_path / "e0.safetensors"))
    assert read_episode_summary(tmp_path / "e0.safetensors").length == 40
    meta["schema"] = 3
    save_file(arrays, tmp_path / "e0.safetensors", metadata={"wovr": json.dumps(meta)})
    with pytest.raises(CorruptFileError, match="has format 3, this version reads 1 and 2"):
        read_episode(tmp_path / "e0.safetensors")


def test_a_rollout_survives_the_round_trip(tmp_path, make_rollout):
    rollout = make_rollout(success_at=12)
    assert_same(rollout, read_rollout(write_rollout(tmp_path, rollout)))
    on_an_arm = dataclasses.replace(rollout, sim_state=None)
    assert_same(on_an_arm, read_rollout(write_rollout(tmp_path, on_an_arm)))


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
