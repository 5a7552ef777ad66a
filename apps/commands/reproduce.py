"""`wovr reproduce STUDY`: the paper's claims, and ours, at this scale, row by row."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.parsing import add_assignments
from wovr_core.errors import UnknownNameError, WovrError

if TYPE_CHECKING:
    from workbench.reproduce.studies import StudyConfig, SuiteTasks


STUDIES = (
    "main",
    "ablations",
    "world-model",
    "hallucination",
    "agreement",
    "corrections",
    "robot",
    "starter",
    "report",
)
"""Named here, since importing them takes seconds; `report` is what is written of the others."""

UNPLANNED = ("robot", "starter", "report")


def add_commands(commands: Any, common: Any) -> None:
    """Add `reproduce` to the parsers."""
    parser = commands.add_parser(
        "reproduce",
        parents=[common],
        help="run the studies behind results/, resumable over days; `report` writes their page",
        description="main: base policy, GRPO online, a WMPO-like baseline and WoVR on the same real budget. ablations: "
        "WoVR without one part at a time. world-model: closed-loop quality, and its ablations. hallucination: how well "
        "label-free scores tell false successes. agreement: whether imagination orders siblings as the simulator does. "
        "corrections: what flags improve, against as many unflagged rollouts and against none. robot: record, imagine, "
        "improve and evaluate in the simulated lab. starter: the demo with a small world model, packed to travel "
        "inside the package. report: tables and figures from results/*.json. A row that is finished is never made "
        "again; the same command goes on where it stopped.",
    )
    parser.add_argument("study", metavar="STUDY", help=", ".join(STUDIES[:-1]) + f", or {STUDIES[-1]}")
    parser.add_argument("--recipe", help="named configuration (default: cpu; of the robot study, on one task: demo)")
    add_assignments(parser)
    parser.add_argument(
        "--tasks",
        action="append",
        default=[],
        metavar="SUITE=I,J",
        help="tasks of a suite, for example libero_object=0,4,7; repeat it for more suites, in place of the default",
    )
    parser.add_argument("--seeds", default="0,1", metavar="I,J", help="seeds, separated by commas (default: 0,1)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a suite, arm or world model; may be repeated"
    )
    parser.add_argument("--budget-minutes", type=float, default=None, help="begin no stage later than this")
    parser.add_argument("--run", default="reproduce", help="run folders are named RUN-SUITE (default: reproduce)")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the results (default: results)"
    )
    parser.add_argument("--readme", type=Path, default=None, help="report: a page whose marked section is written anew")
    parser.add_argument("--plan", action="store_true", help="say what is left, and run nothing")
    parser.add_argument("--episodes", type=int, default=24, help="robot: recorded in the lab (default: 24)")
    parser.add_argument("--trials", type=int, default=30, help="robot: of each policy (default: 30)")
    parser.set_defaults(function=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    if arguments.study not in STUDIES:
        raise UnknownNameError("study", arguments.study, STUDIES)
    if arguments.plan and arguments.study in UNPLANNED:
        raise WovrError(f"{arguments.study} has no --plan: it is no table of rows; without --plan it begins")
    if arguments.study == "starter":
        from apps.commands.starter import reproduce_starter

        return reproduce_starter(None if arguments.run == "reproduce" else arguments.run)
    if arguments.study == "report":
        from workbench.reproduce.report import write_report

        for path in write_report(arguments.results, arguments.readme):
            print(path)
        return 0
    if arguments.study == "robot":
        return _robot(arguments)
    from workbench.reproduce.stage_store import OutOfTime
    from workbench.reproduce.studies import estimate_left, left

    config = _config(arguments)
    if arguments.plan:
        for unit in left(config):
            print(unit)
        print(estimate_left(config))
        return 0
    try:
        _run(config)
    except OutOfTime as stop:
        print(f"{stop}; {estimate_left(config)}")
        print("the same command goes on from there")
        return 0
    print(f"{config.study} is complete: {config.results / config.study}.json; see `wovr reproduce report`")
    return 0


def _robot(arguments: argparse.Namespace) -> int:
    """The real-robot experiment in miniature; of one task, on the simulated lab."""
    from workbench.reproduce.robot import RobotStudyConfig, run_robot_study
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.envs import gl
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.run_folder import resolve_run

    recipe = override(recipes.get(arguments.recipe or "demo"), arguments.assignments)
    recipes.check(recipe)
    gl.prepare()
    path = resolve_run(f"{arguments.run}-robot")
    config = RobotStudyConfig(episodes=arguments.episodes, trials=arguments.trials)
    with polite_interrupts():
        for part in run_robot_study(config, recipe, path, arguments.results):
            print(part, flush=True)
    print(f"{arguments.results / 'robot.json'}; report: {path / 'evaluation' / 'report.html'}")
    return 0


def _run(config: StudyConfig) -> None:
    from workbench.reproduce.studies import estimate_left, run_study
    from wovr_core.envs import gl
    from wovr_core.interrupts import polite_interrupts

    logger = logging.getLogger("wovr")
    gl.prepare()
    logger.info("%s", estimate_left(config))
    with polite_interrupts():
        for row in run_study(config, on_stage=lambda name: logger.info("-- %s", name)):
            shown = {k: v for k, v in row.items() if k not in ("outcomes", "config")}
            print("  ".join(f"{k} {v}" for k, v in shown.items()), flush=True)
            logger.info("%s", estimate_left(config))


def _config(arguments: argparse.Namespace) -> StudyConfig:
    from workbench.reproduce.studies import DEFAULT_SUITES, StudyConfig
    from wovr_core import recipes
    from wovr_core.config import override

    return StudyConfig(
        study=arguments.study,
        recipe=override(recipes.get(arguments.recipe or "cpu"), arguments.assignments),
        suites=tuple(_suite(text) for text in arguments.tasks) or DEFAULT_SUITES,
        seeds=_numbers(arguments.seeds, "--seeds"),
        only=tuple(arguments.only),
        run=arguments.run,
        results=arguments.results,
        budget_minutes=arguments.budget_minutes,
        command=_command(arguments),
    )


def _command(arguments: argparse.Namespace) -> str:
    """What makes these rows again, wherever: without what only says where, how much of it, or for how long."""
    words = ["wovr", "reproduce", arguments.study]
    words += ["--recipe", arguments.recipe] if arguments.recipe else []
    words += [w for tasks in arguments.tasks for w in ("--tasks", tasks)]
    words += ["--seeds", arguments.seeds]
    words += [w for assignment in arguments.assignments for w in ("--set", assignment)]
    return shlex.join(words)


def _suite(text: str) -> SuiteTasks:
    from workbench.reproduce.studies import SuiteTasks

    suite, separator, tasks = text.partition("=")
    if not separator:
        raise WovrError(f"--tasks {text!r} is not of the form SUITE=I,J, for example libero_object=0,4,7")
    return SuiteTasks(suite.strip(), _numbers(tasks, "--tasks"))


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise WovrError(f"{option}: {text!r} is no list of numbers such as 0,1,2") from None
