"""`wovr import`, `wovr export` and `wovr doctor data`, from the command line's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from apps.cli import main
from format_sources import TASK, small_episode, write_libero
from workbench.store.run_items import files_in, read_item, record_folders
from wovr_core import recipes
from wovr_core.config import override
from wovr_core.data.episode_files import EpisodeSet, write_episode
from wovr_core.data.formats.rlinf_dataset import RLinfReader
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.stages import collect
from wovr_core.types import Episode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    episodes = [small_episode(f"e{i}", length=8, size=32, seed=i) for i in range(3)]
    return write_libero(tmp_path / "soup_demo.hdf5", episodes)


def test_an_import_is_a_run_that_can_be_looked_at_and_trained_on(source: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path / "imported"
    assert main(["import", "libero", str(source), "--run", str(run), "--set", "env.view=full"]) == 0
    told = capsys.readouterr().out
    assert "3 episodes (3 successes, 21 steps)" in told
    episodes = list(EpisodeSet(run / "import" / "episodes"))
    np.testing.assert_array_equal(episodes[0].frames, small_episode("e0", length=8, size=32).frames[1:])
    info = episodes[0].info
    assert (info["imported_format"], info["imported_file"]) == ("libero", "soup_demo.hdf5")
    assert len(info["imported_sha256"]) == 64
    assert json.loads(info["imported_with"]) == {"rotate": True, "shift_actions": 1}
    items = [read_item("r", file, {}) for place in record_folders(run) for file in files_in(*place)]
    assert [(item.suite_task, item.success, item.broken) for item in items] == [("libero_object/0", True, None)] * 3
    # What the message says to type is what the pipeline accepts: its stage `collect` is finished with these.
    settings = [word for word in told.split("wovr run pipeline")[1].split() if "=" in word]
    recipe = override(recipes.get("cpu"), settings)
    assert recipe.env.size == 32
    recipes.check(recipe)
    inputs = collect.CollectInputs(recipe.env, recipe.tasks, recipe.seed, pool=None)  # type: ignore[arg-type]
    found = collect.run(recipe.collect, inputs, run / "collect")
    assert (found.count, found.successes, Path(found.episodes)) == (3, 3, run / "import" / "episodes")


def test_conventions_can_be_told(source: Path, tmp_path: Path) -> None:
    run = tmp_path / "told"
    flags = ["--no-rotate", "--flip", "--gripper-sign", "-1", "--shift-actions", "0", "--bgr", "--size", "16"]
    assert main(["import", "libero", str(source), "--run", str(run), "--limit", "1", *flags]) == 0
    (episode,) = EpisodeSet(run / "import" / "episodes")
    wanted = small_episode("e0", length=8, size=32)
    assert episode.frames.shape[1:] == (16, 16, 3)
    np.testing.assert_array_equal(episode.actions[:, 6], -wanted.actions[:7, 6])
    np.testing.assert_array_equal(episode.actions[:, :6], wanted.actions[:7, :6])
    assert main(["import", "libero", str(source), "--run", str(run), "--limit", "2"]) == 2


def test_tasks_of_a_suite_that_the_source_does_not_name_are_recognised(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    source = write_libero(tmp_path / f"{TASK.instruction.replace(' ', '_')}_demo.hdf5", [small_episode()], False)
    assert main(["import", "libero", str(source), "--run", str(tmp_path / "a")]) == 0
    assert "--suite libero_object" in capsys.readouterr().out
    assert main(["import", "libero", str(source), "--run", str(tmp_path / "b"), "--suite", "libero_object"]) == 0
    assert "Train on them" in capsys.readouterr().out
    assert main(["import", "libero", str(source), "--run", str(tmp_path / "c"), "--suite", "libero_objct"]) == 2
    assert "did you mean 'libero_object'" in capsys.readouterr().err


def test_mistakes_are_answered_in_a_line(source: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["import", "libreo", str(source), "--run", "x"]) == 2
    assert "did you mean 'libero'" in capsys.readouterr().err
    assert main(["import", "libero", str(tmp_path / "none"), "--run", "x"]) == 2
    assert main(["import", "wmpo", str(source), "--run", "x"]) == 2
    assert main(["export", "lerobot", "--run", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert main(["doctor", "data", str(tmp_path / "none")]) == 2


@pytest.mark.fault
def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    episodes = [small_episode(f"e{i}", length=24, size=128, seed=i) for i in range(12)]
    source = write_libero(tmp_path / "soup_demo.hdf5", episodes)
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "apps.cli", "import", "libero", str(source), "--run", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, end = run / "import" / "episodes", time.monotonic() + 120
    while len(list(folder.glob("*.safetensors")) if folder.is_dir() else []) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert len(before) >= 2
    assert main(command[3:]) == 0
    assert len(EpisodeSet(folder)) == 12
    assert not list(folder.glob(".*.tmp"))
    kept = [path for path, made in before.items() if path.stat().st_mtime_ns == made]
    assert len(kept) >= len(before) - 1


def run_of(episodes: list[Episode], run: Path) -> Path:
    for episode in episodes:
        write_episode(run / "collect" / "episodes", episode)
    (run / "run.json").write_text("{}")
    return run


def test_lerobot_out_and_in_again(tmp_path: Path) -> None:
    episodes = [small_episode(f"e{i}", length=8, size=32, seed=i) for i in range(3)]
    run, out, back = run_of(episodes, tmp_path / "r"), tmp_path / "out", tmp_path / "back"
    assert main(["export", "lerobot", "--run", str(run), "--out", str(out), "--pictures", "image", "--shard", "2"]) == 0
    assert main(["import", "lerobot", str(out), "--run", str(back)]) == 0
    for found, wanted in zip(EpisodeSet(back / "import" / "episodes"), episodes, strict=True):
        np.testing.assert_array_equal(found.frames, wanted.frames)
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_array_equal(found.success, wanted.success)
        assert found.task == TASK


def test_rlinf_export(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    made = [small_episode(f"e{i}", length=12, size=256, seed=i) for i in range(2)]
    episodes = [replace(episode, sim_states=np.zeros((13, 4))) for episode in made]
    run, out = run_of(episodes, tmp_path / "r"), tmp_path / "out"
    keys = [keyframe(e, step, "contact") for e in episodes for step in (4, 9)]
    write_keyframes(run / "keyframes" / "keyframes.safetensors", keys)
    assert main(["export", "rlinf", "--run", str(run), "--out", str(out), "--envs", "7", "--group", "7"]) == 2
    assert "6 starts are too few for 7" in capsys.readouterr().err
    assert main(["export", "rlinf", "--run", str(run), "--out", str(out), "--envs", "6", "--group", "2"]) == 1
    assert "2 first frames and 4 keyframe starts" in capsys.readouterr().out
    reader = RLinfReader(out)
    starts = [reader.start(key) for key in reader.keys()]  # noqa: SIM118
    np.testing.assert_array_equal(starts[0].frames[0], episodes[0].frames[0])
    for start, key in zip(starts[2:], keys, strict=True):
        frames, actions = start.context()
        np.testing.assert_array_equal(frames, key.context_frames)
        np.testing.assert_array_equal(actions, key.context_actions)
    config = yaml.safe_load((out / "wan_libero_object_grpo.yaml").read_text())["env"]["train"]
    assert (config["total_num_envs"], config["enable_kir"], config["image_size"]) == (6, True, [256, 256])
    assert Path(config["initial_image_path"]) == out / "dataset"


def test_the_doctor_writes_its_evidence(source: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "page.html"
    code = main(["doctor", "data", str(source), "--out", str(out), "--json", "--fps", "10"])
    told = json.loads(capsys.readouterr().out)
    assert code == (1 if told["findings"] else 0)
    assert (told["format"], told["clips"]) == ("libero", 3)
    page = out.read_text()
    assert "data:image/png;base64," in page
    assert "plotly" in page.lower()
