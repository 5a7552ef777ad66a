"""From a plan's settings to what trials are run on: the robot, its camera, the policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import wovr_home
from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder
from wovr_core.robots.evaluation.operators import LabOperator, initial_pictures
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.robots.evaluation.session import Station
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.lab_actors import LAB_ACTORS
from wovr_core.robots.pictures import PictureRecipe
from wovr_core.robots.runner import Actor

LAB = "lab"


def check_temperature(temperature: float) -> None:
    """Raises WovrError for one that nothing can be sampled at."""
    if not 0 <= temperature < float("inf"):
        raise WovrError(f"temperature {temperature} is not 0 or more; 0 is greedy, 1 samples as the policy was trained")


@dataclass(frozen=True)
class LabSettings:
    """What sets up the simulated lab again."""

    suite: str = "libero_object"
    task: int = 0
    size: int = 64
    view: str = "workspace"
    robot: str = LAB
    temperature: float = 0.0
    """Of policies from checkpoints."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def config(self, realtime: bool = False) -> LabConfig:
        from wovr_core.envs.libero import LiberoConfig

        return LabConfig(LiberoConfig(suite=self.suite, size=self.size, view=self.view), self.task, realtime)


def settings_of(evaluation: Evaluation) -> LabSettings:
    """Raises WovrError when the plan is of a robot that this version cannot set up by itself."""
    from wovr_core.config import from_dict

    if evaluation.plan.settings.get("robot") != LAB:
        raise WovrError(f"{evaluation.plan.name} was planned on {evaluation.plan.robot}, not in the simulated lab")
    return from_dict(LabSettings, dict(evaluation.plan.settings), f"settings of {evaluation.plan.name}")


def contestant(text: str) -> Contestant:
    """ "NAME=CHECKPOINT": a folder, RUN/STAGE of a run, or one of the lab's own (LAB_ACTORS). Raises WovrError."""
    from wovr_core.model_files import version_of

    name, separator, where = text.partition("=")
    if not separator or not name.strip():
        raise WovrError(f"--policy {text!r} is not of the form NAME=CHECKPOINT, for example after=demo/rl_evolved")
    if where in LAB_ACTORS:
        return Contestant(name.strip(), where)
    for path in (Path(where), wovr_home() / "runs" / where / "policy", wovr_home() / "runs" / where):
        if (path / "manifest.json").is_file():
            return Contestant(name.strip(), version_of(path), str(path.absolute()))
    known = ", ".join(LAB_ACTORS)
    raise WovrError(f"--policy {text}: no checkpoint at {where}; give its folder, RUN/STAGE, or one of {known}")


def actors(lab: SimulatedLab | None, contestants: Sequence[Contestant], temperature: float) -> dict[str, Actor]:
    """Load the policies. Raises WovrError when a checkpoint is not the one that was planned.

    Args:
        lab: for the lab's own policies; None where there is none.
    """
    from wovr_core.model_files import load_policy
    from wovr_core.policy.acting import PolicyActor

    made: dict[str, Actor] = {}
    for entry in contestants:
        if not entry.path:
            if entry.version not in LAB_ACTORS:
                raise UnknownNameError("policy of the lab", entry.version, LAB_ACTORS)
            if lab is None:
                raise WovrError(f"{entry.version} is a policy of the simulated lab alone; give a checkpoint")
            made[entry.name] = LAB_ACTORS[entry.version](lab)
            continue
        policy, version = load_policy(Path(entry.path))
        if version != entry.version:
            raise WovrError(f"{entry.path} is version {version}, planned was {entry.version}")
        made[entry.name] = PolicyActor(policy, temperature)
    return made


def plan_in_lab(
    name: str,
    contestants: Sequence[Contestant],
    settings: LabSettings,
    protocol: ProtocolConfig,
    conditions: Sequence[int],
    folder: Path | None = None,
) -> Evaluation:
    """Plan an evaluation in the simulated lab; the initial pictures are drawn from it.

    Raises:
        WovrError: there is a plan of that name, or a setting that cannot be.
    """
    folder = folder or evaluation_folder(name)
    if (folder / "plan.json").exists():
        raise WovrError(f"{folder} holds a plan already, and a plan is never changed: choose another name")
    runner = replace(protocol.runner, picture=PictureRecipe(size=settings.size))
    protocol = replace(protocol, runner=runner)
    with SimulatedLab(settings.config()) as lab:
        pictures = initial_pictures(lab, runner.picture, conditions)
        facts: Mapping[str, Any] = asdict(settings)
        write_plan(
            folder, name, robot=lab.name, task=lab.task, simulated=True, protocol=protocol,
            contestants=contestants, pictures=pictures, settings=facts,
        )  # fmt: skip
    return Evaluation(folder)


class LabStation:
    """The simulated lab along with wall time, for people at the page Robot."""

    def __init__(self, evaluation: Evaluation, realtime: bool = True) -> None:
        self._evaluation = evaluation
        self._settings = settings_of(evaluation)
        self._lab = SimulatedLab(self._settings.config(realtime))
        self.scene = LabOperator(self._lab, labels=False)

    def __enter__(self) -> LabStation:
        self._lab.connect()
        lab = self._lab
        try:
            made = actors(lab, self._evaluation.plan.contestants, self._settings.temperature)
        except BaseException:
            lab.disconnect()
            raise
        self.station = Station(lab, lab.camera, made, self.scene, lab.clock, lab)
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.disconnect()
