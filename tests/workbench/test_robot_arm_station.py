"""A checkpoint on an arm behind the real safety process: plan, arm, key, trial. Only the arm is arithmetic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workbench.robot_arm_station import ArmSettings, ArmStation, plan_on_arm, station_of, with_picture
from workbench.robot_desk import DeskConfig, DeskError, RobotDesk, View
from workbench.robot_station import contestant
from workbench.server.roles import Role, User
from wovr_core.data.episode_files import read_episode
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import write_bytes
from wovr_core.model_files import POLICY, save_model
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.cameras import CameraConfig, SimulatedCamera
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.overlay import png
from wovr_core.robots.evaluation.plan import ProtocolConfig
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.pictures import PictureRecipe
from wovr_core.robots.runner import RunnerConfig

pytestmark = [pytest.mark.robot, pytest.mark.timeout(240)]
ANN = User("ann", Role.ROBOT)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    policy = build(TinyVLAConfig(image_size=32, width=16, blocks=1, keypoints=16, hidden=64), seed=3)
    policy.action_bins.fit(np.random.default_rng(0).uniform(-0.2, 0.2, (400, 7)).astype(np.float32))
    save_model(tmp_path / "policy", POLICY, policy, lineage={})
    return tmp_path / "policy"


@pytest.fixture
def evaluation(tmp_path: Path, checkpoint: Path) -> Evaluation:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 200
    write_bytes(tmp_path / "images" / "0.png", png(picture))
    runner = RunnerConfig(max_steps=24, translation=0.01, rotation=0.02)
    protocol = with_picture(ProtocolConfig(trials=1, second_labels=0, runner=runner), PictureRecipe(size=32))
    return plan_on_arm(
        "arm", [contestant(f"tiny={checkpoint}")], ArmSettings("127.0.0.1"), protocol, "push", tmp_path / "images",
        tmp_path / "e",
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_checkpoint_on_a_guarded_arm_with_a_pause_of_the_key(evaluation: Evaluation) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 200
    robot = GuardedRobot(ArmServerConfig(kind="kinematic"))
    camera = SimulatedCamera(lambda: picture, CameraConfig(fps=20.0))
    desk = RobotDesk("franka", lambda e: ArmStation(e, robot, camera), DeskConfig(key=1.0, lease=60.0))
    token = desk.arm(evaluation, ANN)

    def press() -> View:
        with contextlib.suppress(DeskError):  # it may end at any moment
            return desk.alive(token, ANN, key=True)
        return desk.view()

    try:
        wait_for(lambda: desk.view().phase in ("reset", "ended"))
        assert desk.view().error == ""
        assert desk.view().similarity == pytest.approx(1.0)
        desk.alive(token, ANN, key=True)
        desk.ready(token, ANN)
        wait_for(lambda: desk.alive(token, ANN, key=True).step >= 5)
        desk.alive(token, ANN, key=False)
        wait_for(lambda: robot.get_state().motion == "holding")
        time.sleep(1.5)  # longer than the guard would wait for a silent client
        assert desk.view().phase == "running"
        wait_for(lambda: press().phase in ("label", "ended"))
        assert desk.view().error == ""
        trial = evaluation.trial(1)
        assert (trial.how, trial.last and trial.last["why"]) == ("finished", "")
        episode = read_episode(evaluation.folder / "episodes" / "trial-001-1.safetensors")
        held = episode.streams["robot.hold"][:, 0].astype(bool)
        assert (~held[:-1]).sum() == 24
        assert held.sum() > 10
        reached = episode.streams["robot.tcp_pose"][:, :3]
        assert np.linalg.norm(reached[-1] - reached[0]) > 0.002  # it moved
        assert np.linalg.norm(np.diff(reached, axis=0), axis=1).max() < 0.02
        evaluation.label(1, "ann", False)
        desk.labelled(token, ANN)
        wait_for(lambda: desk.view().phase == "ended")
        assert desk.view().error == ""
    finally:
        desk.close()


def test_what_cannot_be_planned_on_an_arm(tmp_path: Path, checkpoint: Path) -> None:
    settings, protocol = ArmSettings("127.0.0.1"), ProtocolConfig(trials=1)
    with pytest.raises(WovrError, match=r"0\.png"):
        plan_on_arm("a", [contestant(f"t={checkpoint}")], settings, protocol, "push", tmp_path, tmp_path / "a")
    write_bytes(tmp_path / "0.png", png(np.zeros((64, 64, 3), np.uint8)))
    with pytest.raises(WovrError, match="simulated lab alone"):
        plan_on_arm("a", [contestant("t=scripted")], settings, protocol, "push", tmp_path, tmp_path / "a")
    with pytest.raises(WovrError, match="no checkpoint"):
        contestant("t=nowhere")
    with pytest.raises(WovrError, match="NAME=CHECKPOINT"):
        contestant("nowhere")


def test_an_evaluation_runs_on_the_robot_that_it_was_planned_on(evaluation: Evaluation) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'franka'"):
        station_of("frank")
    with pytest.raises(WovrError, match="planned on franka"):
        station_of("lab")(evaluation)
