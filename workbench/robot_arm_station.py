"""A real arm (or a simulator that speaks its protocol) and its camera, from a plan's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench.robot_desk import OpenStation
from workbench.robot_station import LAB, LabStation, actors, check_temperature
from wovr_core.config import from_dict
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.robots.base import CameraProtocol, Limits, Robot
from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder
from wovr_core.robots.evaluation.overlay import Overlay, read_png
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, ScheduledTrial, write_plan
from wovr_core.robots.evaluation.session import Station
from wovr_core.robots.pictures import PictureRecipe, to_frame, upright
from wovr_core.robots.runner import TrialRun
from wovr_core.robots.safety.guard import check_limits
from wovr_core.types import Frames, TaskId

FRANKA = "franka"


@dataclass(frozen=True)
class ArmSettings:
    """What sets up an arm again."""

    host: str
    """Address of the control box, or of a simulator."""
    camera: str = "0"
    """A video device's number or path, or "realsense:SERIAL"."""
    fps: float = 30.0
    """Of the camera."""
    simulator: bool = False
    """No real-time kernel is needed then."""
    temperature: float = 0.0
    robot: str = FRANKA
    limits: Limits | None = None
    """Of this cell, the workspace box first of all; None: the defaults (a simulator's where it is one)."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.limits is not None:
            check_limits(self.limits)

    def make_robot(self) -> Robot:
        """Behind the safety process."""
        from wovr_core.robots.guarded import franka_robot
        from wovr_core.robots.simulated import FRANKY_SIM_LIMITS

        usual = FRANKY_SIM_LIMITS if self.simulator else Limits()
        return franka_robot(self.host, self.limits or usual, realtime=not self.simulator)

    def make_camera(self) -> CameraProtocol:
        from wovr_core.robots.cameras import CameraConfig, OpenCVCamera, RealSenseCamera

        kind, _, serial = self.camera.partition(":")
        config = CameraConfig(name=self.camera, fps=self.fps)
        if kind == "realsense":
            return RealSenseCamera("" if serial == "any" else serial, config)
        return OpenCVCamera(int(self.camera) if self.camera.isdigit() else self.camera, config)


class ArmStation:
    """Robot and camera, connected for as long as somebody has armed them."""

    def __init__(
        self, evaluation: Evaluation, robot: Robot | None = None, camera: CameraProtocol | None = None
    ) -> None:
        """robot, camera: in place of those that the plan names."""
        self._evaluation = evaluation
        self._settings = from_dict(ArmSettings, dict(evaluation.plan.settings), f"settings of {evaluation.plan.name}")
        self._robot = robot or self._settings.make_robot()
        self._camera = camera or self._settings.make_camera()
        self.scene = GuidedScene(self._robot)

    def __enter__(self) -> ArmStation:
        contestants = self._evaluation.plan.contestants
        self._actors = actors(None, contestants, self._settings.temperature)  # before anything is under power
        self._camera.connect()
        try:
            self._robot.connect()
        except BaseException:
            self._camera.disconnect()
            raise
        self.station = Station(self._robot, self._camera, self._actors, self.scene)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._robot.disconnect()
        finally:
            self._camera.disconnect()


class GuidedScene:
    """The person sets up everything, the arm's own pose included (by hand guiding): nothing moves by itself."""

    name = "person"

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    def prepare(self, trial: ScheduledTrial, wanted: Frames, look: Callable[[], Overlay]) -> Overlay | None:
        return look()

    def acknowledged(self) -> None:
        """A person looked and says that it may begin: a reflex of the trial before is cleared now, never earlier."""
        if self._robot.get_state().mode == "reflex":
            self._robot.recover(operator_ack=True)

    def judge(self, evaluation: Evaluation, trial: ScheduledTrial, run: TrialRun) -> None:
        """The page asks."""


def plan_on_arm(
    name: str,
    contestants: Sequence[Contestant],
    settings: ArmSettings,
    protocol: ProtocolConfig,
    instruction: str,
    images: Path,
    folder: Path | None = None,
) -> Evaluation:
    """Plan an evaluation on an arm.

    Args:
        images: a folder of the camera's pictures of the initial conditions, 0.png, 1.png, ...

    Raises:
        WovrError: no such pictures, policies without a checkpoint, a plan of that name.
    """
    found = {int(path.stem): path for path in images.glob("*.png") if path.stem.isdigit()}
    if not found:
        raise WovrError(f"{images} holds no pictures named 0.png, 1.png, ...: take one of each initial condition")
    for entry in contestants:
        if not entry.path:
            raise WovrError(f"{entry.name}: {entry.version} is a policy of the simulated lab alone; give a checkpoint")
    recipe = protocol.runner.picture
    pictures = {i: upright(to_frame(read_png(path.read_bytes()), recipe)) for i, path in sorted(found.items())}
    facts: Mapping[str, Any] = asdict(settings)
    folder = folder or evaluation_folder(name)
    write_plan(
        folder, name, robot=FRANKA, task=TaskId("robot", 0, instruction), simulated=False, protocol=protocol,
        contestants=contestants, pictures=pictures, settings=facts,
    )  # fmt: skip
    return Evaluation(folder)


def with_picture(protocol: ProtocolConfig, recipe: PictureRecipe) -> ProtocolConfig:
    """The protocol with another picture recipe."""
    return replace(protocol, runner=replace(protocol.runner, picture=recipe))


STATIONS: dict[str, Callable[[Evaluation], OpenStation]] = {LAB: LabStation, FRANKA: ArmStation}


def station_of(robot: str) -> Callable[[Evaluation], OpenStation]:
    """How trials are run on the robot that the server was started with. Raises UnknownNameError.

    What it returns raises WovrError for an evaluation that was planned on another robot.
    """
    if robot not in STATIONS:
        raise UnknownNameError("robot", robot, STATIONS)

    def make(evaluation: Evaluation) -> OpenStation:
        planned = evaluation.plan.settings.get("robot")
        if planned != robot:
            raise WovrError(f"{evaluation.plan.name} was planned on {planned}, this server was started with {robot}")
        return STATIONS[robot](evaluation)

    return make
