"""`wovr track`: send a run's metrics to Weights & Biases or TensorBoard."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.tracking.sync import Sink, SyncReport

LAST_STAGE = "evaluate"
"""Of the pipeline; named here, since importing it takes seconds."""


def add_commands(commands: Any, common: Any) -> None:
    track = commands.add_parser(
        "track",
        parents=[common],
        help="send a run's metrics, clips, tables and lineage to wandb or TensorBoard",
        description="Reads the files of a run, finished or still going on, and sends what was not sent yet. "
        "WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY and WANDB_DIR are respected.",
    )
    track.add_argument("run", metavar="RUN", help="name or folder of the run")
    track.add_argument("--to", required=True, choices=("wandb", "tensorboard"), help="where to")
    track.add_argument("--follow", action="store_true", help="go on while the run does, up to the stage --until")
    track.add_argument(
        "--until", metavar="STAGE", default=LAST_STAGE, help=f"default: {LAST_STAGE}, the pipeline's last"
    )
    track.add_argument("--patience", type=float, metavar="SECONDS", help="with --follow: stop when nothing comes")
    track.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help=argparse.SUPPRESS)
    track.add_argument("--clips", type=int, default=4, help="animations per stage (default: 4)")
    track.add_argument("--upload", action="store_true", help="wandb: datasets and checkpoints too, not just digests")
    track.add_argument("--logdir", type=Path, help="TensorBoard: folder of event files (default: in the run folder)")
    track.set_defaults(function=_track)


def _track(arguments: argparse.Namespace) -> int:
    from workbench.tracking.sync import Sync, SyncConfig, follow
    from wovr_core.run_folder import resolve_run

    run = resolve_run(arguments.run)
    records = stages = 0

    def show(report: SyncReport) -> None:
        nonlocal records, stages
        records, stages = records + report.records, stages + report.stages
        for line in report.corrupt:
            logging.getLogger("wovr").warning("passed over %s", line)

    with Sync(run, _sink(arguments, run), SyncConfig(clips=arguments.clips)) as sync:
        if arguments.follow:
            follow(sync, show, until=arguments.until, interval=arguments.interval, patience=arguments.patience)
        else:
            show(sync.step())
    print(f"{records} new records of {stages} stages sent to {arguments.to}")
    return 0


def _sink(arguments: argparse.Namespace, run: Path) -> Sink:
    if arguments.to == "wandb":
        from workbench.tracking.wandb_sink import WandbSink

        return WandbSink(run, upload=arguments.upload)
    from workbench.tracking.tensorboard_sink import TensorBoardSink

    return TensorBoardSink(run, arguments.logdir)
