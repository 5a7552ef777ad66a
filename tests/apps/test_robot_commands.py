"""`wovr robot plan|evaluate|label|report` as typed, on the simulated lab: the way through, and what is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from apps.cli import main
from workbench.robot_arm_station import ArmSettings
from wovr_core.config import from_dict
from wovr_core.files import read_json, write_bytes
from wovr_core.model_files import POLICY, save_model
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.overlay import png

pytestmark = pytest.mark.robot
NAME = "typed-test"
SMALL = ("--trials", "1", "--size", "32", "--max-steps", "12", "--conditions", "2")
TWO = ("--policy", "good=scripted", "--policy", "idle=still")


@pytest.fixture
def folder(wovr_home: Path) -> Iterator[Path]:
    """Of the evaluation; the home is shared, for its meshes."""
    path = wovr_home / "evaluations" / NAME
    shutil.rmtree(path, ignore_errors=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `wovr robot ...`; returns what was printed, or the error's line where exit code 2 is `wanted`."""

    def run(verb: str, *arguments: str, wanted: int = 0) -> str:
        code = main(["robot", verb, NAME, *arguments])
        told = capsys.readouterr()
        assert code == wanted, told.err
        if wanted:
            assert told.err.startswith("wovr: ")
            assert told.err.count("\n") == 1, "one line"
            return told.err
        return told.out

    return run


def test_from_the_plan_to_the_report(typed: Callable[..., str], folder: Path) -> None:
    planned = typed("plan", *TWO, *SMALL)
    digest = re.search(r"plan ([0-9a-f]{64})", planned)
    assert digest
    assert "2 trials of 'pick up the alphabet soup" in planned
    assert "holds a plan already" in typed("plan", *TWO, *SMALL, wanted=2)
    assert typed("label").splitlines() == ["trial 1 has not been run", "trial 2 has not been run"]
    assert "trial 1 has not been run" in typed("report", wanted=2)

    first = typed("evaluate", "--trials", "1")
    assert "trial 1 of 2: finished" in first
    assert "1 trial run; newest record" in first
    assert "labels first, then names" in typed("report", "--unblind", "ann", wanted=2)
    assert not (folder / "report.json").exists()
    assert "it has not ended" in typed("label", "--who", "ann", "--trial", "2", "--success", wanted=2)
    second = typed("evaluate")
    assert "trial 2 of 2: finished" in second
    assert "trial 1 of 2" not in second, "no trial is run twice"
    for public in (planned, first, second, typed("label")):
        assert "good" not in public
        assert "idle" not in public

    assert typed("label").splitlines() == [f"trial {i} has no second label from the video" for i in (1, 2)]
    for arguments, why in (
        (("--trial", "1"), "say which trial and what"),
        (("--success",), "say which trial and what"),
        (("--trial", "3", "--success"), "3"),
        (("--trial", "1", "--exclude", " "), "reason"),
    ):
        assert why in typed("label", "--who", "bob", *arguments, wanted=2)
    typed("label", "--who", "bob", "--trial", "1", "--video", "--success", "--note", "it is in the basket")
    typed("label", "--who", "bob", "--trial", "2", "--exclude", "the lamp fell over")
    assert "nothing is left" in typed("label")

    assert "--abandon needs --unblind" in typed("report", "--abandon", "tired", wanted=2)
    told = typed("report", "--unblind", "ann")
    report = read_json(folder / "report.json")
    assert report["digests"]["plan"] == digest.group(1)
    counts = {p["name"]: (p["successes"], p["trials"], p["excluded"]) for p in report["policies"]}
    assert sorted(n for _, n, _ in counts.values()) == [0, 1]
    assert all(f"{name}: {k}/{n}" in told for name, (k, n, _) in counts.items())
    assert [e["why"] for e in report["exclusions"]] == ["the lamp fell over"]
    assert [d["trial"] for d in report["disagreements"]] == [1], "nobody solves it in 12 steps"
    assert str(folder / "report.html") in told
    page = (folder / "report.html").read_text()
    assert "the lamp fell over" in page
    assert "it is in the basket" in page

    assert "unblind" in typed("label", "--who", "ann", "--trial", "1", "--success", wanted=2)
    typed("report")  # again, from the same records
    next((folder / "videos").glob("*.mp4")).unlink()
    assert "is missing" in typed("report", wanted=2)
    assert not (folder / "report.html").exists(), "what no longer holds does not lie about"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "one policy or two"),
        (("--policy", "scripted"), "is not of the form NAME=CHECKPOINT"),
        (("--policy", "a=scriptd"), "no checkpoint at scriptd"),
        (("--policy", "a=scripted", "--policy", "a=still"), "of different names"),
        (("--policy", "a=scripted", "--trials", "0"), "at least one trial"),
        (("--policy", "a=scripted", "--alpha", "2"), "alpha 2.0 is not between 0 and 1"),
        (("--policy", "a=scripted", "--second-labels", "3"), "not a share"),
        (("--policy", "a=scripted", "--max-steps", "0"), "max_steps"),
        (("--policy", "a=scripted", "--task", "12"), "12"),
        (("--policy", "a=scripted", "--suite", "libero_objct"), "did you mean 'libero_object'"),
        (("--policy", "a=scripted", "--view", "worksapce"), "did you mean 'workspace'"),
        (("--policy", "a=scripted", "--size", "-3"), "size"),
        (("--policy", "a=scripted", "--conditions", "0"), "at least one initial condition"),
        (("--policy", "a=scripted", "--conditions", "51"), "50"),
        (("--policy", "a=scripted", "--temperature", "-1"), "temperature"),
        (("--policy", "a=scripted", "--robot", "frank"), "did you mean 'franka'"),
        (("--policy", "a=scripted", "--robot", "franka"), "needs --host"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_in_words(
    typed: Callable[..., str], folder: Path, arguments: tuple[str, ...], why: str
) -> None:
    fewest = () if "--conditions" in arguments else ("--conditions", "1")
    assert why in typed("plan", *fewest, *arguments, wanted=2)
    assert not (folder / "plan.json").exists()


def test_without_a_plan_there_is_nothing_to_run(typed: Callable[..., str], folder: Path) -> None:
    for verb in ("evaluate", "label", "report"):
        assert "there is no evaluation at" in typed(verb, wanted=2)


def test_an_evaluation_can_be_abandoned_and_says_so(typed: Callable[..., str], folder: Path) -> None:
    typed("plan", "--policy", "idle=still", *SMALL[2:], "--trials", "25", "--second-labels", "0")
    told = typed("label").splitlines()
    assert len(told) == 21
    assert told[-1] == "and 5 more"
    typed("evaluate", "--trials", "1")
    typed("report", "--unblind", "ann", "--abandon", "the soup can broke")
    report = read_json(folder / "report.json")
    assert report["ended_early"]["kind"] == "abandon"
    assert report["not_run"] == 24
    assert "the soup can broke" in (folder / "report.html").read_text()


def test_an_arms_plan_declares_the_limits_of_its_cell(typed: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    write_bytes(tmp_path / "0.png", png(np.zeros((48, 64, 3), np.uint8)))
    policy = build(TinyVLAConfig(image_size=16, width=16, blocks=1, keypoints=8, hidden=32), seed=1)
    save_model(tmp_path / "policy", POLICY, policy, lineage={})
    arm = (
        "--robot", "franka", "--policy", f"a={tmp_path / 'policy'}", "--trials", "1", "--size", "16",
        "--host", "127.0.0.9", "--images", str(tmp_path), "--instruction", "push the cube",
    )  # fmt: skip
    assert "did you mean 'max_speed'" in typed("plan", *arm, "--limit", "max_sped=0.05", wanted=2)
    assert "positive and finite" in typed("plan", *arm, "--limit", "max_speed=-1", wanted=2)
    box = "workspace_low=[0.35,-0.25,0.08]"
    assert "is not a box" in typed("plan", *arm, "--limit", "workspace_low=[0.9,0,0]", wanted=2)
    typed("plan", *arm, "--limit", "max_speed=0.05", "--limit", box)
    settings = from_dict(ArmSettings, dict(Evaluation(folder).plan.settings), "settings")
    assert settings.limits is not None
    assert (settings.limits.max_speed, settings.limits.workspace_low) == (0.05, (0.35, -0.25, 0.08))
    assert "wovr app --robot franka" in typed("evaluate", wanted=2)
