"""`wovr store`: the index over all runs, and annotations in and out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.commands.indexing import all_runs, up_to_date
from wovr_core.errors import Interrupted, UnknownNameError, WovrError

if TYPE_CHECKING:
    from wovr_core.stages.progress import Progress

FORMATS = ("jsonl", "csv", "label-studio")


def add_commands(commands: Any, common: Any) -> None:
    store = commands.add_parser(
        "store",
        parents=[common],
        help="the index over all runs: make it anew, look at it, exchange annotations",
        description="The store is an index of what lies under WOVR_HOME/runs. It is SQLite at WOVR_HOME/store.db, "
        "or the PostgreSQL database that WOVR_DATABASE_URL names. Annotations are kept beside their runs.",
    )
    verbs = store.add_subparsers(dest="verb", required=True, metavar="VERB")

    status = verbs.add_parser("status", parents=[common], help="what is in it, and what is wrong with it")
    status.add_argument("--json", action="store_true", help="print it as JSON")
    status.set_defaults(function=_status)

    rebuild = verbs.add_parser("rebuild", parents=[common], help="bring it up to the files; quick where none changed")
    rebuild.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="further run folders, or folders of them")
    rebuild.add_argument("--fresh", action="store_true", help="start from an empty database; the old one is kept aside")
    rebuild.add_argument("--verify", action="store_true", help="read every file and compare its sha256")
    rebuild.set_defaults(function=_rebuild)

    export = verbs.add_parser("export", parents=[common], help="write annotations to a file")
    export.add_argument("format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; jsonl holds the whole history")
    export.add_argument("--out", type=Path, help="file to write (default: standard output)")
    export.add_argument("--run", action="append", default=[], help="only this run's; may be repeated")
    export.set_defaults(function=_export)

    take = verbs.add_parser("import", parents=[common], help="read annotations; importing twice changes nothing")
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument("--format", help=f"{', '.join(FORMATS)} (default: by the file's ending)")
    take.add_argument("--run", help="take them for this run, whatever the file says")
    take.set_defaults(function=_import)

    guide = verbs.add_parser("guideline", parents=[common], help="write the labelling guideline with real examples")
    guide.add_argument("--out", type=Path, default=Path("guideline.html"), help="file (default: guideline.html)")
    guide.set_defaults(function=_guideline)

    labels = verbs.add_parser("label-config", parents=[common], help="print the interface for a Label Studio project")
    labels.set_defaults(function=_label_config)


def _status(arguments: argparse.Namespace) -> int:
    from workbench.store.status import status
    from workbench.store.store import Store

    with Store.open() as store:
        found = status(store)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 1 if found["damage"] else 0
    size = f", {found['bytes'] / 1e6:,.1f} MB" if found["bytes"] else ""
    print(f"{found['store']} (revision {found['revision']}{size})")
    for name, count in found["counts"].items():
        print(f"{name:18s} {count:,}")
    for record, why in found["broken"]:
        print(f"cannot be read: {record}: {why}")
    for run, why in found["problems"]:
        print(f"cannot be shown: run {run}: {why}")
    for run in found["missing"]:
        print(f"not there: run {run}; its annotations' index is kept")
    for line in found["damage"]:
        print(f"DAMAGE: {line}; run `wovr store rebuild --fresh`")
    return 1 if found["damage"] else 0


def _rebuild(arguments: argparse.Namespace) -> int:
    from workbench.store.indexer import Indexer, OnFiles, UpdateOptions
    from workbench.store.job_rows import update_jobs
    from workbench.store.run_rows import note_missing
    from workbench.store.status import verify
    from workbench.store.store import Store
    from wovr_core.files import wovr_home
    from wovr_core.interrupts import polite_interrupts, stop_requested

    def on_run(path: Path) -> OnFiles:
        return _Bar(path.name).show

    with Store.open_fresh() if arguments.fresh else Store.open() as store, polite_interrupts():
        options = UpdateOptions(thorough=True, on_run=on_run, stop=stop_requested)
        report = Indexer(store).update(all_runs(store, arguments.paths), options)
        if stop_requested():
            raise Interrupted("stopped the rebuild; the same command goes on from there")
        missing = note_missing(store)
        jobs = update_jobs(store, wovr_home() / "jobs")
        print(
            f"{report.runs} runs, {report.read + report.unchanged:,} files ({report.read:,} read, {report.removed:,} "
            f"gone), {jobs} jobs: {store.name}"
        )
        damaged = [*report.broken]
        if arguments.verify:
            checked = verify(store, _Bar("verify").show)
            print(f"{checked.checked:,} files compared with their sha256, {checked.first_time:,} for the first time")
            damaged += [pair for pair in checked.damaged if pair[0] not in dict(damaged)]
    for record, why in damaged:
        print(f"skipped: {record}: {why}")
    for run, why in report.problems:
        print(f"skipped: run {run}: {why}")
    for run in missing:
        print(f"not there: run {run}; its annotations' index is kept")
    return 1 if damaged or report.problems else 0


def _export(arguments: argparse.Namespace) -> int:
    from workbench.store import formats
    from workbench.store.exchange import export_events, export_spans
    from workbench.store.status import run_keys
    from wovr_core.files import write_bytes

    _known_format(arguments.format)
    indexer = up_to_date()
    runs = run_keys(indexer.store, arguments.run)
    if arguments.format == "jsonl":
        text = "".join(formats.to_json_lines(export_events(indexer.store, runs)))
    else:
        write = formats.to_csv if arguments.format == "csv" else formats.to_label_studio
        text = write(export_spans(indexer.store, runs))
    if arguments.out:
        write_bytes(arguments.out, text.encode())
    else:
        sys.stdout.write(text)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from workbench.server.roles import system_user
    from workbench.store import formats
    from workbench.store.exchange import import_events, import_spans
    from workbench.store.status import run_keys

    endings = {".jsonl": "jsonl", ".csv": "csv", ".json": "label-studio"}
    kind = arguments.format or endings.get(arguments.file.suffix)
    if kind is None:
        raise WovrError(f"{arguments.file.name}: say which --format it has ({', '.join(FORMATS)})")
    _known_format(kind)
    try:
        text = arguments.file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise WovrError(f"{arguments.file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WovrError(f"{arguments.file} is no text in UTF-8: {error}") from error
    indexer = up_to_date()
    if arguments.run:
        run_keys(indexer.store, [arguments.run])
    if kind == "jsonl":
        report = import_events(indexer, formats.from_json_lines(text), arguments.run)
    else:
        rows = formats.from_csv(text) if kind == "csv" else formats.from_label_studio(text)
        report = import_spans(indexer, rows, system_user(), arguments.run)
    conflicts, problems = len(report.conflicts), len(report.problems)
    print(f"{report.added} added, {report.unchanged} were in already, {conflicts} conflicts, {problems} left out")
    for line in (*report.conflicts, *report.problems):
        print(f"  {line}")
    return 1 if conflicts or problems else 0


def _guideline(arguments: argparse.Namespace) -> int:
    from workbench.store.guideline import render
    from wovr_core.files import write_bytes

    write_bytes(arguments.out, render(up_to_date().store).encode())
    print(f"Guideline: {arguments.out}")
    return 0


def _label_config(arguments: argparse.Namespace) -> int:
    from workbench.store.formats import labeling_config

    print(labeling_config(), end="")
    return 0


class _Bar:
    """The progress of what is counted as it goes."""

    def __init__(self, name: str) -> None:
        self._name, self._done = name, 0
        self._progress: Progress | None = None

    def show(self, done: int, total: int) -> None:
        from wovr_core.stages.progress import Progress

        if self._progress is None:
            self._progress = Progress(self._name, total, "file")
        self._progress.update(done - self._done)
        self._done = done
        if done == total:
            self._progress.close()


def _known_format(name: str) -> None:
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
