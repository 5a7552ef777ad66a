"""`wovr import` and `wovr export`: datasets of others in, and ours out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.commands import export_rlinf
from apps.parsing import add_assignments
from wovr_core.data.formats import READERS, names
from wovr_core.errors import UnknownNameError, WovrError

if TYPE_CHECKING:
    from wovr_core.types import TaskId

EXPORTS = ("lerobot", "rlinf")


def add_commands(commands: Any, common: Any) -> None:
    _add_import(commands, common)
    _add_export(commands, common)


def _add_import(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "import",
        parents=[common],
        help="episodes of another format into a run: " + ", ".join(READERS),
        description="Converts a dataset into a run's episodes, one at a time; the same command goes on where it was "
        "stopped. Files are parsed in a process of their own. The run can be looked at like any other, and "
        "`wovr run` goes on from it as if it had collected these episodes. If in doubt about the flags, ask "
        "`wovr doctor data PATH`.",
    )
    parser.add_argument("format", metavar="FORMAT", help=", ".join(READERS) + ", or a plug-in's (`wovr plugins`)")
    parser.add_argument("path", type=Path, metavar="PATH", help="a file, or a folder of them")
    parser.add_argument("--run", required=True, help="name or folder of the run that the episodes go into")
    parser.add_argument("--suite", default="", help="LIBERO suite of the tasks (default: what the source says)")
    parser.add_argument("--camera", default="", help="lerobot: feature of the pictures (default: the first)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N episodes only")
    parser.add_argument("--source", default="expert", help="who acted; imitation learns from 'expert' (default)")
    parser.add_argument("--recipe", default="cpu", help="recipe that the run is for (default: cpu)")
    add_assignments(parser)
    add_convention_flags(parser)
    parser.set_defaults(function=_import)


def check_format(name: str) -> None:
    """Raises UnknownNameError unless it can be read, here or by a plug-in."""
    if name not in names():
        raise UnknownNameError("format", name, names())


def add_convention_flags(parser: Any) -> None:
    """How the source's pictures and actions are to be understood, where that differs from its format's habit."""
    yes = argparse.BooleanOptionalAction
    group = parser.add_argument_group("conventions (default: what the format is known to use)")
    group.add_argument("--rotate", action=yes, default=None, help="turn pictures by 180 degrees")
    group.add_argument("--flip", action=yes, default=None, help="turn pictures upside down")
    group.add_argument("--bgr", action=yes, default=None, help="channels are blue, green, red")
    group.add_argument("--gripper-sign", type=int, choices=(1, -1), default=None, help="-1: the source opens with +1")
    group.add_argument("--gripper-01", action=yes, default=None, help="the gripper runs from 0 to 1")
    group.add_argument("--shift-actions", type=int, choices=(0, 1), default=None,
                       help="0: row t was executed at picture t; 1: it led to picture t")  # fmt: skip
    group.add_argument("--fps", type=float, default=None, help="pictures a second; multiples of 20 are thinned out")
    group.add_argument("--size", type=int, default=None, help="scale pictures to this height and width")
    group.add_argument("--alphabetical-tasks", dest="alphabetical", action=yes, default=None,
                       help="task numbers follow the alphabet, not LIBERO's order")  # fmt: skip
    group.add_argument("--unnormalise", type=Path, default=None, metavar="STATS",
                       help="actions are normalised; their dataset_statistics.json")  # fmt: skip
    group.add_argument("--stats-key", default="", help="which dataset of STATS")


def conventions_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Conventions` that were asked for."""
    names = ("rotate", "flip", "bgr", "gripper_sign", "gripper_01", "shift_actions", "fps", "size", "alphabetical")
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _import(arguments: argparse.Namespace) -> int:
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.data.formats.conventions import read_statistics
    from wovr_core.data.formats.sandbox import Sandbox, SandboxedReader
    from wovr_core.envs.libero_suites import SUITES
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.run_folder import Run, resolve_run
    from wovr_core.stages import import_episodes

    check_format(arguments.format)
    if arguments.suite and arguments.suite not in SUITES:
        raise UnknownNameError("suite", arguments.suite, SUITES)
    statistics = read_statistics(arguments.unnormalise, arguments.stats_key) if arguments.unnormalise else None
    options = {"camera": arguments.camera} if arguments.format == "lerobot" else {}
    path = arguments.path.absolute()
    config = import_episodes.ImportConfig(
        format=arguments.format,
        path=str(path),
        conventions=conventions_of(arguments),
        statistics=statistics,
        suite=arguments.suite,
        source=arguments.source,
        limit=arguments.limit,
    )
    with Sandbox() as sandbox:
        reader = SandboxedReader(arguments.format, path, options, sandbox)
        first = reader.read(reader.keys()[0])
        tasks = _tasks({arguments.suite, first.suite} - {""})
        size = int(config.conventions.get("size", 0)) or first.frames.shape[1]
        suite = arguments.suite or first.suite
        recipe = recipes.get(arguments.recipe)
        settings = [
            *_sizes(recipe, size),
            *([f"env.suite={suite}"] if tasks.get(suite) else []),
            *arguments.assignments,
        ]
        recipe = override(recipe, settings)
        run_path = resolve_run(arguments.run)
        with polite_interrupts(), Run(run_path, recipe) as run:
            inputs = import_episodes.ImportInputs(reader, tasks)
            found = run.stage("import", import_episodes.run, config, inputs)
            print(f"{found.count} episodes ({found.successes} successes, {found.steps} steps) in {found.episodes}")
            _hand_on(recipe, found, run_path, arguments, settings, bool(tasks.get(suite)))
    return 0


def _sizes(recipe: Any, size: int) -> list[str]:
    """What makes every model of a recipe see pictures of this size."""
    if size == recipe.env.size:
        return [f"env.size={size}"]
    codec = "wan.codec" if recipe.world_model.model.wan else "codec"
    keys = ["env.size", f"world_model.model.{codec}.image_size", "reward.model.image_size"]
    keys += ["sft.policy.image_size"] * hasattr(recipe.sft.policy, "image_size")
    return [f"{key}={size}" for key in keys]


def _hand_on(
    recipe: Any, found: Any, run_path: Path, arguments: argparse.Namespace, settings: list[str], known: bool
) -> None:
    """Let the pipeline take the episodes for collected ones, where they are of tasks that it knows (`known`)."""
    import json
    from dataclasses import replace

    from wovr_core.data.episode_files import EpisodeSet
    from wovr_core.stages import import_episodes
    from wovr_core.stages.collect import CollectInputs

    summaries = EpisodeSet(Path(found.episodes)).summaries()
    if not known or any(s.task.suite != recipe.env.suite for s in summaries):
        words = " ".join(f"--set {flag}" for flag in settings)
        print("These tasks are of no LIBERO suite that the source names: nothing can be executed or audited.")
        print(f"Train on them with:  wovr run pipeline --recipe {arguments.recipe} --run {arguments.run} {words}")
        _suggest_suite({summary.task.instruction for summary in summaries}, arguments.suite)
        return
    tasks = tuple(sorted({s.task.task for s in summaries}))
    recipe = replace(recipe, tasks=tasks)
    inputs = CollectInputs(recipe.env, recipe.tasks, recipe.seed, pool=None)  # type: ignore[arg-type]
    import_episodes.adopt(recipe.collect, inputs, found, run_path / "collect")
    flags = [*settings, f"tasks={json.dumps(list(tasks), separators=(',', ':'))}"]
    words = " ".join(f"--set {flag}" for flag in flags)
    print(f"Train on them with:  wovr run pipeline --recipe {arguments.recipe} --run {arguments.run} {words}")


def _suggest_suite(instructions: set[str], asked: str) -> None:
    """Say which suite has all these tasks, where there is one."""
    from wovr_core.data.formats.conventions import plain
    from wovr_core.envs.libero_suites import SUITES

    wanted = {plain(text) for text in instructions}
    for suite, tasks in _tasks(set(SUITES)).items():
        if suite != asked and wanted <= {plain(task.instruction) for task in tasks}:
            print(
                f"To execute them, too, import them into another --run with  --suite {suite}  (it has all these tasks)."
            )
            return


def _tasks(suites: set[str]) -> dict[str, list[TaskId]]:
    from wovr_core.envs import libero_suites

    return {suite: libero_suites.tasks(suite) for suite in suites if suite in libero_suites.SUITES}


def _add_export(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="a run's episodes or models in another format: " + ", ".join(EXPORTS),
        description="lerobot: the episodes of a stage as a LeRobotDataset v3.0. rlinf: starts of rollouts (with "
        "keyframes), the world model that the run goes on with, where it is of RLinf's kind and size, RLinf's reward "
        "model, and a configuration; exit code 1 while RLinf lacks something.",
    )
    parser.add_argument("format", metavar="FORMAT", help=", ".join(EXPORTS))
    parser.add_argument("--run", required=True, help="name or folder of the run")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="folder to write")
    parser.add_argument("--stage", default="", help="stage whose episodes they are (default: collect or import)")
    parser.add_argument("--pictures", default="video", help="lerobot: video (lossy) or image (exact; default: video)")
    parser.add_argument("--codec", default="h264", help="lerobot: h264 or av1")
    parser.add_argument("--shard", type=int, default=20, help="lerobot: episodes of one file (default: 20)")
    export_rlinf.add_flags(parser)
    parser.set_defaults(function=_export)


def _export(arguments: argparse.Namespace) -> int:
    from wovr_core.run_folder import require_run, resolve_run

    if arguments.format not in EXPORTS:
        raise UnknownNameError("format", arguments.format, EXPORTS)
    run = require_run(resolve_run(arguments.run))
    out = arguments.out.absolute()
    if arguments.format == "rlinf":
        return export_rlinf.export(arguments, run, _episodes(run, arguments.stage), out)
    return _lerobot(arguments, run, out)


def _episodes(run: Path, stage: str) -> Path:
    having = sorted(p.parent.name for p in run.glob("*/episodes"))
    if stage and stage not in having:
        raise UnknownNameError(f"stage with episodes in {run.name}:", stage, having)
    chosen = stage or next((s for s in ("collect", "import", *having) if s in having), "")
    if not chosen:
        raise WovrError(f"{run} holds no episodes; run `wovr run collect` or `wovr import` first")
    return run / chosen / "episodes"


def _lerobot(arguments: argparse.Namespace, run: Path, out: Path) -> int:
    from wovr_core.data.episode_files import EpisodeSet
    from wovr_core.data.formats.lerobot_write import LeRobotConfig, LeRobotWriter
    from wovr_core.errors import Interrupted
    from wovr_core.files import fingerprint, sha256_file
    from wovr_core.interrupts import polite_interrupts, stop_requested
    from wovr_core.stages.progress import Progress

    episodes = EpisodeSet(_episodes(run, arguments.stage))
    version = fingerprint({name: sha256_file(path) for name, path in episodes.paths.items()})
    instructions = [summary.task.instruction for summary in episodes.summaries()]
    config = LeRobotConfig(arguments.pictures, arguments.codec, shard=arguments.shard)
    with polite_interrupts():
        writer = LeRobotWriter(out, version, instructions, config)
        progress = Progress("export", len(episodes), "episode", initial=writer.done)
        for name in list(episodes.paths)[writer.done :]:
            writer.write(episodes.read(name))
            progress.update(1)
            if stop_requested():
                raise Interrupted("stopped the export; the same command goes on from the last whole file")
        progress.close()
        writer.finish()
    print(f"{len(episodes)} episodes as LeRobotDataset v3.0 in {out}")
    return 0


def flags_text(conventions: dict[str, Any]) -> str:
    """The command-line flags that ask for these conventions."""
    names = {"alphabetical": "alphabetical_tasks"}
    parts = []
    for field, value in conventions.items():
        flag = "--" + re.sub("_", "-", names.get(field, field))
        parts.append(flag if value is True else f"--no-{flag[2:]}" if value is False else f"{flag} {value:g}")
    return " ".join(parts)
