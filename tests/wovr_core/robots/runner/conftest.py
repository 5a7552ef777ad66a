"""An arm that is where it was told to be, and time that is as long as it is told: for the runner's own tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from wovr_core.robots.base import CameraFrame, Clip, Limits, Motion, RobotMode, RobotState, SentAction
from wovr_core.types import FloatArray, Frames, TaskId


class FakeClock:
    """Simulated time; a decision takes as long as `thinking` says."""

    def __init__(self) -> None:
        self.time = 100.0
        self.thinking: list[float] = []
        """s that the next decisions take; 0 after them."""
        self._left: dict[int, float] = {}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 0.0)

    def wait(self, future: Future[Any], seconds: float) -> bool:
        future.exception()
        if id(future) not in self._left:
            self._left[id(future)] = self.time + (self.thinking.pop(0) if self.thinking else 0.0)
        ready = self._left[id(future)]
        if ready <= self.time + seconds:
            self.time = max(self.time, ready)
            return True
        self.time += max(seconds, 0.0)
        return False


class FakeArm:
    """Follows every command; clips x at `wall`; whatever a test puts into `faults` is raised at that command."""

    name = "fake"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.limits = Limits()
        self.position = np.array([0.5, 0.0, 0.3])
        self.wall = np.inf
        self.motion = Motion.STOPPED
        self.pressed = False
        self.calls: list[str] = []
        self.faults: dict[int, Exception] = {}
        self.gripper = self
        self.sent = 0

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def start(self, gains: object = None, limits: object = None) -> None:
        self.calls.append("start")
        self.motion = Motion.RUNNING

    def stop(self) -> None:
        self.calls.append("stop")
        self.motion = Motion.STOPPED

    def hold(self) -> None:
        self.calls.append("hold")
        self.motion = Motion.HOLDING

    def dead_man(self, pressed: bool) -> None:
        self.pressed = pressed

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        return self._done("open")

    def grasp(self, width: float, speed: float = 0.05, force: float = 20.0, *eps: float) -> Future[bool]:
        return self._done("close")

    def _done(self, what: str) -> Future[bool]:
        self.calls.append(what)
        told: Future[bool] = Future()
        told.set_result(True)
        return told

    def get_state(self) -> RobotState:
        zeros, pose = np.zeros(7), np.array([*self.position, 0, 0, 0, 1.0])
        return RobotState(
            self.clock.now(), self.clock.now(), self.sent, zeros, zeros, zeros, zeros, pose, np.zeros(6), np.zeros(6),
            0.08, False, RobotMode.MOVE, (), (), 1.0, self.motion,
        )  # fmt: skip

    def send_delta(self, dpos: Sequence[float], drotvec: Sequence[float], seq: int, t_sent: float) -> SentAction:
        self.sent += 1
        if self.sent in self.faults:
            raise self.faults[self.sent]
        if not self.pressed:
            return self._answer(np.zeros(6), (Clip.DEAD_MAN.value,), seq)
        self.motion = Motion.RUNNING
        wanted = self.position + np.asarray(dpos)
        reached = np.minimum(wanted, [self.wall, np.inf, np.inf])
        delta = np.concatenate([reached - self.position, np.asarray(drotvec)])
        clipped = (Clip.WORKSPACE.value,) if (reached != wanted).any() else ()
        self.position = reached
        return self._answer(delta, clipped, seq)

    def _answer(self, delta: FloatArray, clipped: tuple[str, ...], seq: int) -> SentAction:
        pose = np.array([*self.position, 0, 0, 0, 1.0])
        return SentAction(pose, clipped, delta, seq, self.clock.now(), self.motion)


class FakeCamera:
    """Shows the arm's x as brightness, wider than high; fails at the reads that `faults` names."""

    name, fps = "fake camera", 20.0

    def __init__(self, arm: FakeArm) -> None:
        self.arm = arm
        self.reads = 0
        self.faults: dict[int, Exception] = {}

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def read(self) -> CameraFrame:
        self.reads += 1
        if self.reads in self.faults:
            raise self.faults[self.reads]
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32] = int(np.clip(self.arm.position[0] * 100, 0, 255))
        return CameraFrame(picture, self.arm.clock.now(), self.arm.clock.now(), self.reads)


class FakeActor:
    """Decides chunks of 8 that move along x; keeps what it was shown."""

    def __init__(self, step: float = 0.1) -> None:
        self.step = step
        self.seen: list[tuple[Frames, FloatArray]] = []
        self.seeds: list[int] = []
        self.failure: Exception | None = None

    def begin(self, seed: int) -> None:
        self.seeds.append(seed)

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Any:
        from wovr_core.robots.runner import Decision

        if self.failure:
            raise self.failure
        self.seen.append((frame, previous))
        actions = np.zeros((8, 7), np.float32)
        actions[:, 0] = self.step
        actions[:, 6] = [-1, -1, 1, 1, 1, 1, 1, -1]
        tokens = np.full((8, 7), len(self.seen), np.int64)
        return Decision(actions, tokens, np.full((8, 7), -0.5, np.float32))


class Rig:
    """All of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.arm = FakeArm(self.clock)
        self.camera = FakeCamera(self.arm)
        self.actor = FakeActor()

    def run(self, max_steps: int = 16, **wishes: Callable[..., Any]) -> Any:
        from wovr_core.robots.pictures import PictureRecipe
        from wovr_core.robots.runner import RunnerConfig, Wishes, run_trial

        config = RunnerConfig(max_steps=max_steps, picture=PictureRecipe(size=32), absent_after=2.0)
        task = TaskId("robot", 0, "push it along x")
        return run_trial(
            self.arm, self.camera, self.actor, task, 7, config,  # type: ignore[arg-type]
            episode_id="t", source="fake", clock=self.clock, wishes=Wishes(**wishes),
        )  # fmt: skip


@pytest.fixture
def rig() -> Rig:
    return Rig()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll generously: machines are busy."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
