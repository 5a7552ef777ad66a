"""`wovr robot plan|evaluate|label|report`: a pre-registered, blinded evaluation of one policy or two."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wovr_core.robots.evaluation.evaluation import Evaluation
    from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig

SHOWN = 20
"""Lines of what is left to do."""


def add_verbs(verbs: Any, common: Any) -> None:
    """Add the evaluation's verbs."""
    _plan_parser(verbs, common)
    evaluate = verbs.add_parser(
        "evaluate", parents=[common], help="run the trials of a plan; goes on where it stopped, whatever stopped it"
    )
    evaluate.add_argument("name", metavar="NAME")
    evaluate.add_argument("--trials", type=int, default=None, metavar="N", help="at most so many in this session")
    evaluate.add_argument("--ask", action="store_true", help="a person labels each trial, in place of the simulator")
    evaluate.set_defaults(function=_evaluate)

    label = verbs.add_parser(
        "label",
        parents=[common],
        help="label trials (operator, or a second person from the video), exclude one, or list what is open",
    )
    label.add_argument("name", metavar="NAME")
    label.add_argument("--who", help="your name; without it, what is open is listed")
    label.add_argument("--trial", type=int, metavar="N")
    verdict = label.add_mutually_exclusive_group()
    verdict.add_argument("--success", action="store_true", help="the task was solved")
    verdict.add_argument("--failure", action="store_true", help="it was not")
    verdict.add_argument(
        "--exclude", metavar="REASON", help="leave the trial out of the counts; it stays in the report"
    )
    label.add_argument("--video", action="store_true", help="this is the second label, made from the video alone")
    label.add_argument("--note", default="", help="what was seen")
    label.set_defaults(function=_label)

    report = verbs.add_parser("report", parents=[common], help="write report.html and report.json, or say why not")
    report.add_argument("name", metavar="NAME")
    report.add_argument("--unblind", metavar="WHO", help="open the envelope first: labels are closed from then on")
    report.add_argument("--abandon", metavar="REASON", help="end the evaluation early first; needs --unblind")
    report.set_defaults(function=_report)


def _plan_parser(verbs: Any, common: Any) -> None:
    plan = verbs.add_parser(
        "plan",
        parents=[common],
        help="declare an evaluation: schedule, hidden policies, statistics; hashed before the first trial",
        description="Trials come in blocks: one initial condition, each policy once, in a hidden order. CHECKPOINT is "
        "a folder, RUN/STAGE of a run (demo/rl_evolved), or one of the lab's own: scripted, clumsy, still.",
    )
    plan.add_argument("name", metavar="NAME")
    plan.add_argument(
        "--policy", action="append", default=[], metavar="NAME=CHECKPOINT", help="one policy, or two to compare"
    )
    plan.add_argument("--trials", type=int, default=30, metavar="N", help="of each policy (default: 30)")
    plan.add_argument("--sequential", action="store_true", help="declare a sequential test: e-values, stop at 1/alpha")
    plan.add_argument("--alpha", type=float, default=0.05)
    plan.add_argument("--seed", type=int, default=0, help="of conditions and samplings (default: 0)")
    plan.add_argument("--second-labels", type=float, default=1.0, metavar="SHARE", help="of trials (default: 1)")
    plan.add_argument("--max-steps", type=int, default=200, metavar="N", help="actions of a trial (default: 200)")
    plan.add_argument("--suite", default="libero_object")
    plan.add_argument("--task", type=int, default=0, metavar="I", help="of the suite (default: 0)")
    plan.add_argument("--size", type=int, default=64, metavar="PIXELS", help="of the policies' frames (default: 64)")
    plan.add_argument("--view", default="workspace")
    plan.add_argument("--temperature", type=float, default=0.0, help="of sampling actions (default: 0, greedy)")
    plan.add_argument("--conditions", type=int, default=50, metavar="N", help="LIBERO's states 0 to N-1 (default: 50)")
    plan.add_argument("--robot", default="lab", help="lab (simulated) or franka (default: lab)")
    arm = plan.add_argument_group("franka")
    arm.add_argument("--host", help="address of the arm's control box, or of a simulator")
    arm.add_argument("--simulator", action="store_true", help="it is a simulator")
    arm.add_argument("--camera", default="0", metavar="DEVICE", help="a video device, or realsense:SERIAL (default: 0)")
    arm.add_argument(
        "--images", type=Path, metavar="FOLDER", help="the camera's pictures of the conditions: 0.png, ..."
    )
    arm.add_argument("--instruction", help="what the policies are told")
    arm.add_argument(
        "--limit", action="append", default=[], metavar="KEY=VALUE",
        help="of this cell, declared with the plan: workspace_low=[0.35,-0.25,0.08], max_speed=0.05, ...; repeatable",
    )  # fmt: skip
    arm.add_argument("--turn", type=int, default=0, help="degrees clockwise that bring the camera's picture upright")
    plan.set_defaults(function=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from workbench.robot_station import LabSettings, contestant, plan_in_lab
    from wovr_core.robots.evaluation.plan import ProtocolConfig
    from wovr_core.robots.runner import RunnerConfig

    settings = LabSettings(
        suite=arguments.suite, task=arguments.task, size=arguments.size, view=arguments.view,
        temperature=arguments.temperature,
    )  # fmt: skip
    protocol = ProtocolConfig(
        trials=arguments.trials,
        design="sequential" if arguments.sequential else "fixed",
        alpha=arguments.alpha,
        second_labels=arguments.second_labels,
        seed=arguments.seed,
        runner=RunnerConfig(max_steps=arguments.max_steps),
    )
    contestants = [contestant(text) for text in arguments.policy]
    if arguments.robot == "lab":
        evaluation = plan_in_lab(arguments.name, contestants, settings, protocol, range(arguments.conditions))
    else:
        evaluation = _plan_on_arm(arguments, contestants, protocol)
    print(f"{evaluation.plan.name}: {len(evaluation.plan.schedule)} trials of {evaluation.plan.task.instruction!r}")
    print(f"plan {evaluation.digest}\nNote that digest down elsewhere, then: wovr robot evaluate {arguments.name}")
    return 0


def _plan_on_arm(arguments: argparse.Namespace, contestants: list[Contestant], protocol: ProtocolConfig) -> Evaluation:
    from workbench.robot_arm_station import FRANKA, ArmSettings, plan_on_arm, with_picture
    from wovr_core.config import override
    from wovr_core.errors import UnknownNameError, WovrError
    from wovr_core.robots.base import Limits
    from wovr_core.robots.pictures import PictureRecipe
    from wovr_core.robots.simulated import FRANKY_SIM_LIMITS

    if arguments.robot != FRANKA:
        raise UnknownNameError("robot", arguments.robot, ["lab", FRANKA])
    for option in ("host", "images", "instruction"):
        if not getattr(arguments, option):
            raise WovrError(f"an evaluation on an arm needs --{option}")
    usual = FRANKY_SIM_LIMITS if arguments.simulator else Limits()
    settings = ArmSettings(
        arguments.host, arguments.camera, simulator=arguments.simulator, temperature=arguments.temperature,
        limits=override(usual, arguments.limit),
    )  # fmt: skip
    protocol = with_picture(protocol, PictureRecipe(arguments.size, arguments.turn))
    return plan_on_arm(arguments.name, contestants, settings, protocol, arguments.instruction, arguments.images)


def _evaluate(arguments: argparse.Namespace) -> int:
    from apps.robot_operator import TerminalOperator
    from workbench.robot_station import actors, settings_of
    from wovr_core.errors import WovrError
    from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder
    from wovr_core.robots.evaluation.operators import LabOperator
    from wovr_core.robots.evaluation.session import Station, run_session
    from wovr_core.robots.lab import SimulatedLab

    evaluation = Evaluation(evaluation_folder(arguments.name))
    if not evaluation.plan.simulated:
        robot = evaluation.plan.robot
        raise WovrError(f"a dead-man key needs a page to hold it on: wovr app --robot {robot}, then the page Robot")
    settings = settings_of(evaluation)
    with SimulatedLab(settings.config()) as lab:
        operator = TerminalOperator(lab) if arguments.ask else LabOperator(lab)
        made = actors(lab, evaluation.plan.contestants, settings.temperature)
        station = Station(lab, lab.camera, made, operator, lab.clock, lab)
        done = run_session(evaluation, station, arguments.trials, told=lambda line: print(line, flush=True))
    left = evaluation.missing()
    print(f"{done} {'trial' if done == 1 else 'trials'} run; newest record {evaluation.log.head()}")
    print(f"left before unblinding: {len(left)} (wovr robot label {arguments.name})" if left else "nothing is left: "
          f"wovr robot report {arguments.name} --unblind YOUR-NAME")  # fmt: skip
    return 0


def _label(arguments: argparse.Namespace) -> int:
    from wovr_core.errors import WovrError
    from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder
    from wovr_core.robots.evaluation.trials import OPERATOR, VIDEO

    evaluation = Evaluation(evaluation_folder(arguments.name))
    if arguments.who is None:
        left = evaluation.missing() or ["nothing is left to do before unblinding"]
        print(*left[:SHOWN], *([f"and {len(left) - SHOWN} more"] if len(left) > SHOWN else []), sep="\n")
        return 0
    if arguments.trial is None or not (arguments.success or arguments.failure or arguments.exclude is not None):
        raise WovrError("say which trial and what: --trial N with --success, --failure or --exclude REASON")
    if arguments.exclude is not None:
        evaluation.exclude(arguments.trial, arguments.who, arguments.exclude)
    else:
        role = VIDEO if arguments.video else OPERATOR
        evaluation.label(arguments.trial, arguments.who, arguments.success, role, arguments.note)
    print(f"recorded; newest record {evaluation.log.head()}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from workbench.robot_report import write_robot_report
    from wovr_core.errors import WovrError
    from wovr_core.robots.evaluation.evaluation import Evaluation, evaluation_folder

    evaluation = Evaluation(evaluation_folder(arguments.name))
    if arguments.abandon is not None:
        if not arguments.unblind:
            raise WovrError("--abandon needs --unblind WHO: say who ends it")
        evaluation.abandon(arguments.unblind, arguments.abandon)
    if arguments.unblind and evaluation.standing().unblinded is None:
        evaluation.unblind(arguments.unblind)
    page, data = write_robot_report(evaluation)
    for policy in json.loads(data.read_text())["policies"]:
        print(f"{policy['name']}: {policy['successes']}/{policy['trials']}")
    print(page, data, sep="\n", file=sys.stdout)
    return 0
