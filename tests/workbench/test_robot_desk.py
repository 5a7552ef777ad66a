"""The desk that a page steers a robot from: who may, the key's lease, resets, labels, and what silence does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.robot_desk import DeskConfig, DeskError, RobotDesk
from workbench.server.roles import ForbiddenError, Role, User
from wovr_core.robots.base import CameraFrame, Limits, Motion, RobotMode, RobotState, SentAction
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.robots.evaluation.session import Station
from wovr_core.robots.pictures import PictureRecipe
from wovr_core.robots.runner import Decision, RunnerConfig
from wovr_core.types import TaskId

pytestmark = pytest.mark.robot

ANN, BOB, VIC = User("ann", Role.ROBOT), User("bob", Role.ROBOT), User("vic", Role.OPERATOR)


class Arm:
    """Counts commands; holds without the key."""

    name, limits = "arm", Limits(rate=50.0)

    def __init__(self) -> None:
        self.gripper = self
        self.pressed = False
        self.commands = self.stops = 0

    def start(self) -> None: ...

    def stop(self) -> None:
        self.stops += 1

    def hold(self) -> None: ...

    def dead_man(self, pressed: bool) -> None:
        self.pressed = pressed

    def get_state(self) -> RobotState:
        z, pose = np.zeros(7), np.array([0.5, 0, 0.3, 0, 0, 0, 1.0])
        return RobotState(0, 0, 0, z, z, z, z, pose, np.zeros(6), np.zeros(6), 0.08, False, RobotMode.MOVE, (), (), 1.0)

    def send_delta(self, dpos: Any, drotvec: Any, seq: int, t_sent: float) -> SentAction:
        assert self.pressed, "a command without the key"
        self.commands += 1
        return SentAction(np.zeros(7), (), np.zeros(6), seq, t_sent, Motion.RUNNING)

    def move(self, *_: Any) -> Future[bool]:
        told: Future[bool] = Future()
        told.set_result(True)
        return told

    grasp = move


class Camera:
    name, fps = "camera", 50.0

    def read(self) -> CameraFrame:
        return CameraFrame(np.full((32, 32, 3), 4, np.uint8), 0.0, 0.0, 0)


class Actor:
    def begin(self, seed: int) -> None: ...

    def decide(self, *_: Any) -> Decision:
        return Decision(np.zeros((8, 7), np.float32))


class Scene:
    name = "scene"

    def prepare(self, trial: Any, wanted: Any, look: Callable[[], Any]) -> Any:
        return look()

    def acknowledged(self) -> None: ...


class Opened:
    def __init__(self, arm: Arm) -> None:
        self.scene: Any = Scene()
        self.station = Station(arm, Camera(), {"a": Actor()}, self.scene)  # type: ignore[arg-type]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    runner = RunnerConfig(max_steps=40, picture=PictureRecipe(size=32), absent_after=60.0)
    write_plan(
        tmp_path / "e", "e", robot="arm", task=TaskId("robot", 0, "push"), simulated=False,
        protocol=ProtocolConfig(trials=2, second_labels=0, runner=runner), contestants=[Contestant("a", "1")],
        pictures={0: np.full((32, 32, 3), 4, np.uint8)},
    )  # fmt: skip
    return Evaluation(tmp_path / "e")


@pytest.fixture
def arm() -> Arm:
    return Arm()


@pytest.fixture
def desk(arm: Arm) -> Iterator[RobotDesk]:
    desk = RobotDesk("arm", lambda evaluation: Opened(arm), DeskConfig(key=2.0, lease=20.0, look_every=0.02))
    yield desk
    desk.close()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_trial_from_arming_to_its_label(desk: RobotDesk, arm: Arm, evaluation: Evaluation) -> None:
    token = desk.arm(evaluation, ANN)
    wait_for(lambda: desk.view().phase == "reset")
    assert desk.laid_over() is not None
    assert desk.view().similarity == pytest.approx(1.0)
    with pytest.raises(DeskError, match="hold the dead-man key"):
        desk.ready(token, ANN)
    desk.alive(token, ANN, key=True)
    desk.ready(token, ANN)
    wait_for(lambda: desk.alive(token, ANN, key=True).phase == "label")
    assert arm.commands == 40
    assert desk.live() is not None
    evaluation.label(1, "ann", True)
    desk.labelled(token, ANN)
    wait_for(lambda: (desk.view().phase, desk.view().trial) == ("reset", 2))
    desk.disarm(token, ANN)
    wait_for(lambda: desk.view().phase == "ended")
    assert desk.view().error == ""
    assert [t.stage for t in evaluation.standing().trials] == ["labelled", "waiting"]
    assert evaluation.trial(1).resets == [{"trial": 1, "by": "ann", "similarity": 1.0}]


def test_a_released_key_holds_and_a_pressed_one_goes_on(desk: RobotDesk, arm: Arm, evaluation: Evaluation) -> None:
    token = desk.arm(evaluation, ANN)
    wait_for(lambda: desk.view().phase == "reset")
    desk.alive(token, ANN, key=True)
    desk.ready(token, ANN)
    wait_for(lambda: arm.commands >= 5)
    assert desk.alive(token, ANN, key=False).key is False
    time.sleep(0.1)
    commands = arm.commands
    time.sleep(0.3)
    assert arm.commands == commands
    assert desk.view().phase == "running"
    wait_for(lambda: desk.alive(token, ANN, key=True).phase == "label")
    assert arm.commands == 40
    body = evaluation.trial(1).last
    assert body is not None
    assert body["held_steps"] > 5


@pytest.mark.fault
def test_silence_lets_the_key_up_and_then_ends_the_session(arm: Arm, evaluation: Evaluation) -> None:
    desk = RobotDesk("arm", lambda _: Opened(arm), DeskConfig(key=0.2, lease=1.0, look_every=0.02))
    now = [0.0]
    guard = threading.Lock()

    def clock() -> float:
        with guard:
            return now[0]

    desk._now = clock
    token = desk.arm(evaluation, ANN)
    wait_for(lambda: desk.view().phase == "reset")
    with guard:
        now[0] = 70.0  # what connecting was given is over
        desk._alive_until = 71.0
    desk.alive(token, ANN, key=True)
    desk.ready(token, ANN)
    wait_for(lambda: arm.commands >= 3)
    with guard:
        now[0] = 70.3
    time.sleep(0.1)
    commands = arm.commands
    time.sleep(0.2)
    assert arm.commands == commands  # the last word counts no more
    with guard:
        now[0] = 72.5  # nobody is there any more
    wait_for(lambda: desk.view().phase == "ended")
    assert arm.stops == 1
    assert evaluation.trial(1).how == "operator_stop"
    with pytest.raises(DeskError):
        desk.alive(token, ANN, key=True)


def test_one_person_at_a_time_of_the_right_role(desk: RobotDesk, evaluation: Evaluation) -> None:
    with pytest.raises(ForbiddenError, match="takes the role robot"):
        desk.arm(evaluation, VIC)
    token = desk.arm(evaluation, ANN)
    with pytest.raises(DeskError, match="ann has the robot"):
        desk.arm(evaluation, BOB)
    for wrong in ("", "x", "ü"):
        with pytest.raises(DeskError, match="do not have the robot"):
            desk.alive(wrong, BOB, key=True)
    with pytest.raises(ForbiddenError):
        desk.alive(token, VIC, key=True)
    wait_for(lambda: desk.view().phase == "reset")
    desk.disarm(token, ANN)
    wait_for(lambda: desk.view().phase == "ended")
    desk.arm(evaluation, BOB)


@pytest.mark.fault
def test_a_robot_that_is_not_there_is_said(evaluation: Evaluation) -> None:
    def missing(_: Evaluation) -> Opened:
        raise RuntimeError("no route to host")

    desk = RobotDesk("arm", missing)
    desk.arm(evaluation, ANN)
    wait_for(lambda: desk.view().phase == "ended")
    assert desk.view().error == "RuntimeError: no route to host"
