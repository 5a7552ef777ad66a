"""Each format read through the sandbox, against what was written by other means."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from format_sources import TASK, small_episode, write_libero, write_wmpo
from wovr_core.data.formats import guess_format, open_reader
from wovr_core.data.formats.base import Conventions, ForeignFileError, clips
from wovr_core.data.formats.conventions import to_episode
from wovr_core.data.formats.lerobot import LeRobotReader
from wovr_core.data.formats.lerobot_write import IMAGE, LeRobotConfig, LeRobotWriter
from wovr_core.data.formats.rlinf_dataset import (
    RLinfReader,
    RLinfStart,
    check_enough,
    plain_start,
    write_start,
)
from wovr_core.data.formats.sandbox import Sandbox, SandboxConfig, SandboxedReader
from wovr_core.data.segments import keyframe
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import NULL_ACTION


def test_liberos_own_rows_show_what_their_action_led_to(tmp_path: Path, sandbox: Sandbox) -> None:
    first, second = small_episode(length=6), small_episode("e1", seed=1)
    path = write_libero(tmp_path / "soup_demo.hdf5", [first, second])
    reader = SandboxedReader("libero", path, sandbox=sandbox)
    assert reader.keys() == ["soup_demo.hdf5/demo_0", "soup_demo.hdf5/demo_1"]
    clip = reader.read(reader.keys()[0])
    assert clip.conventions == Conventions(rotate=True, shift_actions=1)
    assert (clip.suite, clip.instruction, clip.success) == ("libero_object", TASK.instruction, 5)
    episode = to_episode(clip, clip.conventions, [TASK])
    np.testing.assert_array_equal(episode.frames, first.frames[1:])
    np.testing.assert_array_equal(episode.actions, first.actions[1:])
    np.testing.assert_array_equal(episode.streams["wrist"], first.frames[1:] // 2)
    assert episode.task == TASK
    assert episode.succeeded
    assert episode.first_success == 5


def test_no_noops_rows_show_what_their_action_was_taken_at(tmp_path: Path, sandbox: Sandbox) -> None:
    episode = small_episode(length=6)
    folder = tmp_path / "libero_object_no_noops"
    folder.mkdir()
    write_libero(folder / f"{TASK.instruction.replace(' ', '_')}_demo.hdf5", [episode], original=False)
    clip = next(clips(SandboxedReader("libero", tmp_path, sandbox=sandbox)))
    assert (clip.suite, clip.instruction) == ("libero_object", TASK.instruction)
    back = to_episode(clip, clip.conventions, [TASK])
    np.testing.assert_array_equal(back.frames, episode.frames[:-1])
    np.testing.assert_array_equal(back.actions, episode.actions[:-1])


@pytest.mark.security
def test_hdf5_that_points_out_of_its_file_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(256)) * 3)
    for way in ("external", "virtual", "soft", "outside"):
        path = write_libero(tmp_path / f"{way}.h5", [small_episode()])
        with h5py.File(path, "a") as file:
            seen = file["data/demo_0/obs"]
            del seen["agentview_rgb"]
            if way == "external":
                seen.create_dataset("agentview_rgb", (4, 8, 8, 3), "u1", external=[(str(secret), 0, 768)])
            elif way == "virtual":
                layout = h5py.VirtualLayout((4, 16, 16, 3), "u1")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 16, 16, 3))
                seen.create_virtual_dataset("agentview_rgb", layout)
            elif way == "soft":
                seen["agentview_rgb"] = h5py.SoftLink("/data/demo_0/actions")
            else:
                seen["agentview_rgb"] = h5py.ExternalLink("external.h5", "/data/demo_0/obs/agentview_rgb")
        reader = SandboxedReader("libero", path, sandbox=sandbox)
        with pytest.raises(ForeignFileError, match="agentview_rgb"):
            reader.read(reader.keys()[0])


@pytest.mark.security
def test_hdf5_bombs_are_refused_before_they_are_read(tmp_path: Path, sandbox: Sandbox) -> None:
    path = write_libero(tmp_path / "bomb.h5", [small_episode()])
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/agentview_rgb"]
        file.create_dataset(
            "data/demo_0/obs/agentview_rgb", (10**6, 256, 256, 3), "u1", chunks=True, compression="gzip"
        )
    reader = SandboxedReader("libero", path, sandbox=sandbox)
    with pytest.raises(ForeignFileError, match="of shape"):
        reader.read(reader.keys()[0])
    assert sandbox.cpu_seconds < 1


def test_wmpo_ends_at_its_finish_step(tmp_path: Path, sandbox: Sandbox) -> None:
    episode = small_episode(length=8)
    write_wmpo(tmp_path / "a.tar", [episode, replace(episode, success=np.zeros(9, bool))])
    solved, failed = clips(SandboxedReader("wmpo", tmp_path, sandbox=sandbox))
    back = to_episode(solved, solved.conventions, [TASK])
    np.testing.assert_array_equal(back.frames, episode.frames[:-1])
    np.testing.assert_array_equal(back.actions, episode.actions[:7])
    assert (solved.success, failed.success, solved.info["unique_id"]) == (7, -1, "u0")


def test_rlinf_starts_survive_the_round_trip_and_numpy_reads_them(tmp_path: Path, sandbox: Sandbox) -> None:
    episode = replace(small_episode(length=12, size=32), sim_states=np.zeros((13, 3)))
    key = keyframe(episode, 9, "contact")
    write_start(tmp_path / "dataset", 0, plain_start(episode.frames[0], TASK.instruction))
    start = RLinfStart(TASK.instruction, key.context_frames, key.context_actions, np.arange(6, dtype=np.float32))
    path = write_start(tmp_path / "dataset", 10, start)
    assert path.name == "traj10_kir.npy"
    # numpy's own loader, as RLinf calls it: frame 0 the reference, the others each with what produced them.
    rows = np.load(path, allow_pickle=True)
    assert rows.shape == (5,)
    np.testing.assert_array_equal(rows[0]["image"], episode.frames[0])
    np.testing.assert_array_equal(rows[0]["delta_action"], NULL_ACTION)
    for row, step in zip(rows[1:], range(6, 10), strict=True):
        np.testing.assert_array_equal(row["image"], episode.frames[step])
        np.testing.assert_array_equal(row["delta_action"], episode.actions[step - 1])
        assert row["instruction"] == TASK.instruction
    reader = RLinfReader(tmp_path)
    assert reader.keys() == ["traj0.npy", "traj10_kir.npy"]
    back = reader.start("traj10_kir.npy")
    assert back.keyframe
    assert not reader.start("traj0.npy").keyframe
    for found, expected in zip(back.context(), (key.context_frames, key.context_actions), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(back.pose, np.arange(6))
    plain = reader.start("traj0.npy").context()
    np.testing.assert_array_equal(plain[0], np.repeat(episode.frames[:1], 5, axis=0))
    clip = SandboxedReader("rlinf", tmp_path, sandbox=sandbox).read("traj10_kir.npy")
    np.testing.assert_array_equal(to_episode(clip, clip.conventions).actions, key.context_actions[1:])


def test_rlinf_tells_keyframes_by_length_not_by_name(tmp_path: Path) -> None:
    frames = small_episode(length=8).frames
    rows = np.empty(7, dtype=object)
    for i in range(7):
        rows[i] = {"image": frames[i], "delta_action": np.full(7, i, np.float32), "task": b"do it"}
    np.save(tmp_path / "traj3.npy", rows, allow_pickle=True)
    np.save(tmp_path / "traj4_kir.npy", rows[:4], allow_pickle=True)
    reader = RLinfReader(tmp_path)
    seen, actions = reader.start("traj3.npy").context()
    assert reader.start("traj3.npy").instruction == "do it"
    np.testing.assert_array_equal(actions[:, 0], [0, 3, 4, 5, 6])
    np.testing.assert_array_equal(seen[1:], frames[3:7])
    assert not reader.start("traj4_kir.npy").keyframe
    with pytest.raises(WovrError, match="2 starts are too few for 8 parallel environments"):
        check_enough(2, 8)
    with pytest.raises(WovrError, match="1 or 5"):
        write_start(tmp_path, 9, RLinfStart("x", frames[:3], np.zeros((3, 7), np.float32)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One dataset of three episodes in two files of each way to store pictures."""
    roots = {}
    for pictures in ("image", "video"):
        roots[pictures] = root = tmp_path_factory.mktemp("lerobot") / pictures
        writer = LeRobotWriter(root, "v1", [TASK.instruction], LeRobotConfig(pictures=pictures, shard=2))
        for i in range(3):
            episode = small_episode(f"e{i}", length=6 + i, size=64, seed=i)
            writer.write(replace(episode, streams={"wrist": episode.frames[:, ::-1]}))
        writer.finish()
    return roots


@pytest.mark.parametrize("pictures", ["image", "video"])
def test_lerobot_both_ways(written: dict[str, Path], pictures: str, sandbox: Sandbox) -> None:
    reader = SandboxedReader("lerobot", written[pictures], sandbox=sandbox)
    assert len(reader.keys()) == 3
    for i, clip in enumerate(clips(reader)):
        wanted = small_episode(f"e{i}", length=6 + i, size=64, seed=i)
        back = to_episode(clip, clip.conventions, [TASK])
        np.testing.assert_array_equal(back.actions, wanted.actions)
        np.testing.assert_array_equal(back.success, wanted.success)
        assert back.task == TASK
        assert back.info["original_id"] == f"e{i}"
        # The blue channel counts the frames: a picture of another instant would be off by 10.
        off = np.abs(back.frames.astype(int) - wanted.frames)[..., 2].mean(axis=(1, 2))
        assert off.max() < (4 if pictures == "video" else 1e-9)
        wrist = np.abs(back.streams["wrist"].astype(int) - wanted.frames[:, ::-1]).mean()
        assert wrist < (5 if pictures == "video" else 1e-9)


def test_hugging_faces_own_library_reads_it(written: dict[str, Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [str(path) for path in sorted((written["image"] / "data").rglob("*.parquet"))]
    table = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path))
    assert len(table) == 7 + 8 + 9
    wanted = np.concatenate([small_episode(f"e{i}", length=6 + i, size=64, seed=i).frames for i in range(3)])
    for row in (0, 9, 23):
        np.testing.assert_array_equal(np.array(table[row][IMAGE]), wanted[row])
    assert table["index"][:] == list(range(24))
    assert table["episode_index"][:] == [0] * 7 + [1] * 8 + [2] * 9
    assert [i for i, done in enumerate(table["next.done"]) if done] == [6, 14, 23]
    np.testing.assert_allclose(table["timestamp"][7:10], [0, 0.05, 0.1], atol=1e-6)


def test_lerobots_layout_and_statistics(written: dict[str, Path]) -> None:
    import pandas

    root = written["video"]
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 20, 3, 24)
    assert info["features"][IMAGE]["shape"] == [64, 64, 3]
    tasks = pandas.read_parquet(root / "meta/tasks.parquet")
    assert tasks.loc[TASK.instruction, "task_index"] == 0
    rows = pandas.concat(pandas.read_parquet(p) for p in sorted((root / "meta/episodes").rglob("*.parquet")))
    assert rows["dataset_from_index"].tolist() == [0, 7, 15]
    assert rows["dataset_to_index"].tolist() == [7, 15, 24]
    assert rows[f"videos/{IMAGE}/file_index"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(rows[f"videos/{IMAGE}/from_timestamp"], [0, 0.35, 0])
    stats = json.loads((root / "meta/stats.json").read_text())
    closed = [small_episode(length=6 + i, seed=i).actions for i in range(3)]
    rests = [np.r_[np.zeros(6), a[-1, 6]].astype(np.float32)[None] for a in closed]
    every = np.concatenate([part for pair in zip(closed, rests, strict=True) for part in pair])
    for what, value in (("min", every.min(0)), ("max", every.max(0)), ("mean", every.mean(0)), ("std", every.std(0))):
        np.testing.assert_allclose(stats["action"][what], value, atol=1e-6)
    assert stats["action"]["count"] == [24]
    assert np.shape(stats[IMAGE]["mean"]) == (3, 1, 1)


@pytest.mark.fault
def test_an_export_that_was_killed_goes_on_after_its_last_whole_file(tmp_path: Path) -> None:
    episodes = [small_episode(f"e{i}", seed=i, size=32) for i in range(5)]
    config = LeRobotConfig(pictures="image", shard=2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = LeRobotWriter(whole, "v", [TASK.instruction], config)
    for episode in episodes:
        first.write(episode)
    first.finish()
    writer = LeRobotWriter(broken, "v", [TASK.instruction], config)
    for episode in episodes[:3]:
        writer.write(episode)
    del writer  # two are in a file, the third is lost
    (broken / "data/chunk-000/.file-001.parquet.x1y2.tmp").write_bytes(b"half a file")
    again = LeRobotWriter(broken, "v", [TASK.instruction], config)
    assert again.done == 2
    for episode in episodes[again.done :]:
        again.write(episode)
    again.finish()
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(broken) for p in broken.rglob("*") if p.is_file())
    assert all((whole / name).read_bytes() == (broken / name).read_bytes() for name in names)
    with pytest.raises(WovrError, match="other episodes or options"):
        LeRobotWriter(broken, "w", [TASK.instruction], config)


def test_an_unknown_video_codec_is_refused_before_the_folder_is_begun() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'h264'"):
        LeRobotConfig(codec="h246")


@pytest.mark.security
def test_paths_of_a_lerobot_dataset_stay_inside(written: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(written["image"], tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    for template in ("../../../etc/passwd", "/etc/passwd", "{chunk_index.__class__}", "{other}", "{0}", 7):
        (root / "meta/info.json").write_text(json.dumps(info | {"data_path": template}))
        reader = LeRobotReader(root)
        with pytest.raises(ForeignFileError):
            reader.read(reader.keys()[0])


@pytest.mark.fault
def test_a_worker_that_dies_or_hangs_is_an_error_and_is_replaced(tmp_path: Path) -> None:
    path = write_libero(tmp_path / "a.h5", [small_episode()])
    with Sandbox(SandboxConfig(seconds=20)) as sandbox:
        reader = SandboxedReader("libero", path, sandbox=sandbox)
        assert sandbox._process is not None
        os.kill(sandbox._process.pid, signal.SIGSTOP)
        sandbox.config = SandboxConfig(seconds=0.3)
        with pytest.raises(ForeignFileError, match=r"longer than 0\.3 s"):
            reader.read(reader.keys()[0])
        sandbox.config = SandboxConfig(seconds=60)
        assert reader.read(reader.keys()[0]).key == "a.h5/demo_0"
        stopped = sandbox._process
        os.kill(stopped.pid, signal.SIGSTOP)
        os.kill(stopped.pid, signal.SIGKILL)
        with pytest.raises(ForeignFileError, match="crash"):
            _ask_the_dead(sandbox, reader)
        assert reader.read(reader.keys()[0]).key == "a.h5/demo_0"
        assert sandbox.restarts == 2


def _ask_the_dead(sandbox: Sandbox, reader: SandboxedReader) -> None:
    """As if it died of the request: it is not noticed before."""
    process = sandbox._process
    assert process is not None
    sandbox._start = lambda: process  # type: ignore[method-assign]
    try:
        reader.read(reader.keys()[0])
    finally:
        del sandbox._start


@pytest.mark.security
@pytest.mark.parametrize("words", [b"", b"\xff" * 8], ids=["no answer", "more than the memory holds"])
def test_a_worker_that_lives_on_without_answering_is_killed(tmp_path: Path, words: bytes) -> None:
    with Sandbox() as sandbox:
        taken_over = sandbox._process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE)
        answers, into = os.pipe()
        os.write(into, words)
        os.close(into)
        taken_over.stdout = os.fdopen(answers, "rb")
        with pytest.raises(ForeignFileError, match="crash"):
            sandbox.keys("libero", tmp_path, {})
        assert taken_over.returncode == -signal.SIGKILL


@pytest.mark.fault
def test_a_worker_has_its_limits(tmp_path: Path) -> None:
    path = write_libero(tmp_path / "a.h5", [small_episode()])
    with Sandbox(SandboxConfig(memory=1 << 20)) as sandbox, pytest.raises(ForeignFileError, match=r"crash|MemoryError"):
        SandboxedReader("libero", path, sandbox=sandbox)


def test_formats_are_told_by_what_lies_there(tmp_path: Path, written: dict[str, Path]) -> None:
    assert guess_format(written["image"]) == "lerobot"
    assert guess_format(write_libero(tmp_path / "a.hdf5", [small_episode()])) == "libero"
    assert guess_format(tmp_path) == "libero"
    (tmp_path / "empty").mkdir()
    assert guess_format(tmp_path / "empty") == ""
    with pytest.raises(UnknownNameError, match="did you mean 'lerobot'"):
        open_reader("lerobt", tmp_path)
    with pytest.raises(ForeignFileError, match="nothing at"):
        SandboxedReader("wmpo", tmp_path / "none")
