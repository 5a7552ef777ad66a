"""The `wovr` command. Heavy imports wait until a command needs them, so that --help answers at once."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from apps.commands import GROUPS
from apps.doctor_data import add_data_doctor
from apps.parsing import EXIT_USER, Parser, add_assignments
from wovr_core import __version__
from wovr_core.errors import Interrupted, UnknownNameError, WovrError

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (a check failed), 2 (bad input) or 130 (Ctrl-C)."""
    parser = build_parser()
    words = sys.argv[1:] if argv is None else list(argv)
    if not words:
        parser.print_help()
        return EXIT_USER
    arguments = parser.parse_args(words)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in ("matplotlib", "OpenGL", "numba", "filelock", "urllib3", "robosuite_logs", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return _outcome(arguments)
    except KeyboardInterrupt:  # once more, while the first was being told
        return EXIT_INTERRUPTED


def _outcome(arguments: argparse.Namespace) -> int:
    """Run the command; what goes wrong becomes one line and an exit code."""
    try:
        return int(arguments.function(arguments))
    except Interrupted as stop:
        print(f"wovr: {stop}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("wovr: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except WovrError as error:
        if arguments.verbose:
            raise
        print(f"wovr: {error}", file=sys.stderr)
        return EXIT_USER
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:  # a disk, a file that was named wrongly, a socket: nothing that a traceback explains
        if arguments.verbose:
            raise
        print(f"wovr: {error}; --verbose shows where", file=sys.stderr)
        return EXIT_FAILED


def build_parser() -> argparse.ArgumentParser:
    common = Parser(add_help=False)
    common.add_argument("--verbose", action="store_true", default=False, help="debug messages and full tracebacks")

    parser = Parser(
        prog="wovr",
        description="WoVR workbench: reinforcement learning of robot policies inside learned world models.",
        epilog="Start with `wovr demo`. Runs and caches live under WOVR_HOME (default ~/.cache/wovr).",
    )
    parser.add_argument("--version", action="version", version=f"wovr {__version__}")
    parser.set_defaults(verbose=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", parents=[common], help="the whole loop at small scale, then a report")
    _run_options(demo, recipe="demo")
    demo.set_defaults(function=_demo)

    run = commands.add_parser(
        "run",
        parents=[common],
        help="run the pipeline, or the pipeline up to one stage",
        description="Runs the pipeline up to STAGE (all of it for `pipeline`). Stages that are finished in the run "
        "folder are not run again; one that was interrupted goes on where it stopped.",
    )
    run.add_argument("stage", metavar="STAGE", help="`pipeline`, or one of its stages (see `wovr run list`)")
    _run_options(run, recipe="cpu")
    run.set_defaults(function=_run)

    recipes = commands.add_parser("recipes", parents=[common], help="list the recipes, or print one with all its keys")
    recipes.add_argument("name", nargs="?", help="recipe to print")
    recipes.set_defaults(function=_recipes)

    report = commands.add_parser("report", parents=[common], help="write a run's HTML report again")
    report.add_argument("--run", default="demo", help="name or folder of the run (default: demo)")
    report.set_defaults(function=_report)

    app = commands.add_parser(
        "app",
        parents=[common],
        help="look at runs in the browser: film strips, frame-exact scrubber, annotations",
        description="Serves the workbench on this machine alone, unless there are accounts (`wovr users`) and TLS. "
        "Shows the runs under WOVR_HOME and those in PATH.",
    )
    app.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a run folder, or a folder of them")
    app.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    app.add_argument("--port", type=int, default=7860, help="first port to try (default: 7860)")
    app.add_argument("--no-browser", action="store_true", help="do not open a browser")
    app.add_argument("--robot", metavar="NAME", help="let the page Robot arm this robot; `lab` is the simulated one")
    app.add_argument("--demo", action="store_true", help="show the newest demo run, or else the run that comes along")
    app.add_argument("--auth", action="store_true", help="let nobody in without signing in, on this machine too")
    app.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM; with --tls-key")
    app.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, PEM, without a passphrase")
    app.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="a name by which browsers may call this machine beside its address; may be repeated",
    )
    app.add_argument("--share", action="store_true", help=argparse.SUPPRESS)  # known, so that it is refused in words
    app.set_defaults(function=_app)

    bench = commands.add_parser("bench", parents=[common], help="measure something, side by side with a baseline")
    bench.add_argument("name", metavar="NAME", nargs="?", default="list", help="what to measure (default: list them)")
    bench.add_argument("--json", action="store_true", help="print a JSON array of rows in place of a table")
    bench.set_defaults(function=_bench)

    doctor = commands.add_parser("doctor", parents=[common], help="check this machine and say what to install")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.set_defaults(function=_doctor)
    add_data_doctor(doctor, common)

    for group in GROUPS:
        group.add_commands(commands, common)
    return parser


def _run_options(parser: argparse.ArgumentParser, recipe: str) -> None:
    parser.add_argument("--recipe", default=recipe, help=f"named configuration (default: {recipe})")
    parser.add_argument("--run", default=None, help="name or folder of the run (default: the recipe's name)")
    add_assignments(parser, "change one key of the recipe, for example --set sft.steps=500")


def _demo(arguments: argparse.Namespace) -> int:
    from workbench.report import write_report

    path = _execute(arguments, until="pipeline")
    report = write_report(path)
    print(f"\nReport: {report}")
    print(f"Look at the rollouts frame by frame:  {_as_typed()} app --demo")
    return EXIT_OK


def _as_typed() -> str:
    """How a shell finds this program: `make demo` activates no environment for the person who typed it."""
    own = Path(sys.argv[0])
    return str(own) if own.name == "wovr" and shutil.which("wovr") is None else "wovr"


def _run(arguments: argparse.Namespace) -> int:
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.pipeline import STAGES, stages_of

    if arguments.stage == "list":
        for name, what in STAGES.items():
            print(f"{name:22s} {what}")
        return EXIT_OK
    rounds = override(recipes.get(arguments.recipe), arguments.assignments).practice_rounds
    stages = ["pipeline", *stages_of(rounds)]
    if arguments.stage not in stages:
        raise UnknownNameError("stage", arguments.stage, stages)
    path = _execute(arguments, until=arguments.stage)
    if arguments.stage == "pipeline":
        from workbench.report import write_report

        print(f"Report: {write_report(path)}")
    return EXIT_OK


def _execute(arguments: argparse.Namespace, until: str) -> Path:
    """Run the pipeline up to a stage; returns the run's folder."""
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.envs import gl
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.pipeline import main_job
    from wovr_core.recorded import check_recorded, is_recorded, recorded_job
    from wovr_core.run_folder import Run, resolve_run

    recipe = override(recipes.get(arguments.recipe), arguments.assignments)
    path = resolve_run(arguments.run or recipe.name)
    recorded = is_recorded(path)
    if recorded:
        check_recorded(until)
    recipes.check(recipe, simulated=not recorded)
    gl.prepare()
    with polite_interrupts(), Run(path, recipe) as run:
        run.on_stage = lambda name: logging.getLogger("wovr").info("== %s", name)
        for name in recorded_job(run) if recorded else main_job(run):
            if name == until:
                break
    return path


def _recipes(arguments: argparse.Namespace) -> int:
    from wovr_core import recipes
    from wovr_core.config import to_dict

    if arguments.name is None:
        for name, what in recipes.summaries().items():
            print(f"{name:10s} {what}")
        return EXIT_OK
    print(json.dumps(to_dict(recipes.get(arguments.name), whole=True), indent=2))
    return EXIT_OK


def _report(arguments: argparse.Namespace) -> int:
    from workbench.report import write_report
    from wovr_core.run_folder import require_run, resolve_run

    print(f"Report: {write_report(require_run(resolve_run(arguments.run)))}")
    return EXIT_OK


def _app(arguments: argparse.Namespace) -> int:
    from apps.guard import check_share
    from apps.serving import AppConfig, serve

    check_share(share=arguments.share)
    if arguments.robot:
        os.environ["WOVR_ROBOT"] = arguments.robot  # what page Robot and local_user go by
    serve(
        AppConfig(
            paths=tuple(arguments.paths),
            host=arguments.host,
            port=arguments.port,
            browser=not arguments.no_browser,
            demo=arguments.demo,
            auth=arguments.auth,
            tls_cert=arguments.tls_cert,
            tls_key=arguments.tls_key,
            names=tuple(arguments.names),
        )
    )
    return EXIT_OK


def _bench(arguments: argparse.Namespace) -> int:
    from apps import bench

    if arguments.name == "list":
        for name in bench.BENCHES:
            print(f"{name:10s} {bench.describe(name)}")
        return EXIT_OK
    if arguments.name not in bench.BENCHES:
        raise UnknownNameError("bench", arguments.name, ["list", *bench.BENCHES])
    rows = bench.run(arguments.name)
    print(json.dumps(rows, indent=2) if arguments.json else bench.table(rows))
    return EXIT_OK


def _doctor(arguments: argparse.Namespace) -> int:
    from apps.doctor import examine

    checks = examine()
    if arguments.json:
        print(json.dumps([check.__dict__ for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.name:12s} {check.found}")
            if check.advice:
                print(f"    {'':12s} -> {check.advice}")
    return EXIT_OK if all(check.ok for check in checks) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
