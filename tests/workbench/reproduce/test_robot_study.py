"""The robot study at its smallest: every part runs, and a second call makes nothing anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.reproduce.report import write_report
from workbench.reproduce.results import read_rows
from workbench.reproduce.robot import RobotStudyConfig, run_robot_study
from wovr_core import recipes
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.errors import WovrError
from wovr_core.files import read_json

PARTS = ["collect", "sft", "recorded", "world_model", "reward", "beside", "keyframes", "rl", "evaluation"]


@pytest.mark.slow
@pytest.mark.robot
def test_the_whole_study_in_the_lab(tmp_path: Path) -> None:
    recipe = replace(recipes.smoke(), workers=1, threads=1)
    config = RobotStudyConfig(episodes=3, trials=2, beside=2)
    lines: list[str] = []
    run, results = tmp_path / "run", tmp_path / "results"
    assert list(run_robot_study(config, recipe, run, results, lines.append)) == PARTS
    recorded = EpisodeSet(run / "recorded" / "episodes")
    assert len(recorded) == 3
    for episode in recorded:
        assert episode.streams["robot.tcp_pose"].shape == (episode.length + 1, 7)
        assert episode.sim_states is not None
        assert episode.action_tokens is not None
    assert read_json(run / "keyframes" / "outputs.json")["outputs"]["from_failures"] > 0
    laid = read_json(run / "beside" / "outputs.json")["outputs"]
    assert [Path(film).stat().st_size > 500 for film in laid["films"]] == [True, True]
    rows = read_rows(results / "robot.json")
    assert sorted((row["arm"], row["trials"]) for row in rows) == [("after", 2), ("before", 2)]
    report = read_json(run / "evaluation" / "report.json")
    assert [p["trials"] for p in report["policies"]] == [2, 2]
    assert report["simulated"]
    head = report["digests"]["records"]
    write_report(results)
    kept = results / "robot" / "libero_object-0-0"
    assert "2 of 2" in (kept / "report.html").read_text() or "0 of 2" in (kept / "report.html").read_text()
    assert len(list((run / "evaluation" / "videos").glob("*.mp4"))) == 4
    assert str(run) not in (kept / "report.json").read_text()
    assert all((results / film).stat().st_size > 500 for row in rows for film in row["films"])
    lines.clear()
    assert list(run_robot_study(config, recipe, run, results, lines.append)) == PARTS
    assert read_json(run / "evaluation" / "report.json")["digests"]["records"] == head
    assert not any(line.startswith("trial") for line in lines)


def test_it_is_of_one_task(tmp_path: Path) -> None:
    recipe = replace(recipes.smoke(), tasks=(0, 1))
    with pytest.raises(WovrError, match="one task"):
        next(run_robot_study(RobotStudyConfig(), recipe, tmp_path / "run", tmp_path))
