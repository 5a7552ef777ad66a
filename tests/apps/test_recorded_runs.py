"""Episodes of tasks that no simulator here has: imported, trained on through `wovr run`, improved on in imagination."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.cli import main
from format_sources import small_episode
from wovr_core.data.episode_files import EpisodeSet, read_rollout, write_episode
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.model_files import version_of
from wovr_core.recorded import RECORDED_STAGES, is_recorded
from wovr_core.types import TaskId

BANANA = TaskId("my_lab", 3, "pick up the banana")


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """A run into which six episodes of a real arm were imported (four successful, no simulator states), and what was
    told."""
    for i in range(6):
        episode = replace(small_episode(f"e{i}", length=24, size=32, seed=i), task=BANANA)
        if i % 3 == 2:
            episode = replace(episode, success=np.zeros(25, bool))
        write_episode(tmp_path / "source", episode)
    folder = tmp_path / "recorded"
    assert main(["import", "wovr", str(tmp_path / "source"), "--run", str(folder), "--recipe", "smoke"]) == 0
    return folder, capsys.readouterr().out


def wovr(*words: str) -> int:
    threads = torch.get_num_threads()
    try:
        return main(["run", *words])
    finally:
        torch.set_num_threads(threads)


def test_all_that_needs_no_simulator_is_trained(imported: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    run, told = imported
    assert "nothing can be executed or audited" in told
    words = told.split("wovr run ")[1].split("\n")[0].split()
    assert words[:5] == ["pipeline", "--recipe", "smoke", "--run", str(run)]
    assert is_recorded(run)
    assert wovr(*words) == 0
    assert {path.parent.name for path in run.glob("*/outputs.json")} == {"import", *RECORDED_STAGES}
    assert "Report:" in capsys.readouterr().out

    keyframes = read_keyframes(
        Path(json.loads((run / "keyframes" / "outputs.json").read_text())["outputs"]["keyframes"])
    )
    assert {keyframe.task for keyframe in keyframes} == {BANANA}
    assert all(keyframe.sim_state is None for keyframe in keyframes)
    quality = json.loads((run / "world_model" / "outputs.json").read_text())["outputs"]["quality"]
    assert quality["horizons"] == [8, 16]
    rollouts = EpisodeSet(run / "imagine" / "rollouts")
    rollout = read_rollout(next(iter(rollouts.paths.values())))
    assert rollout.task == BANANA
    wanted = {"policy": "rl/policy", "world_model": "world_model/world_model", "reward": "reward/reward"}
    assert {kind: rollout.versions[kind] for kind in wanted} == {k: version_of(run / p) for k, p in wanted.items()}
    made = (run / "world_model" / "outputs.json").stat().st_mtime_ns
    assert wovr("keyframes", *words[1:]) == 0
    assert (run / "world_model" / "outputs.json").stat().st_mtime_ns == made, "what is there is not made again"


def test_what_needs_a_simulator_says_so(imported: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = imported
    assert wovr("evaluate", "--recipe", "smoke", "--run", str(run)) == 2
    told = capsys.readouterr().err
    assert "the stage evaluate needs a simulator" in told
    assert "world_model, keyframes, reward" in told
    assert wovr("world_model", "--recipe", "smoke", "--run", str(run), "--set", "reward.model.image_size=64") == 2
    assert "all frame sizes must agree" in capsys.readouterr().err
    assert {path.name for path in run.iterdir() if path.is_dir()} == {"import"}
