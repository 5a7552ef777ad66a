"""The screen of `wovr jobs watch`: the jobs, how far each is, its curve, what it uses, and one log. Reads only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from apps.terminal import CURVE, clock, pressed_keys, sparkline
from workbench.jobs.backend import CHUNK, JobBackend, JobId, JobState, JobStatus
from workbench.jobs.processes import family, usage
from workbench.jobs.progress import Progress, RunProgress
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

STYLES = {
    JobState.QUEUED: ("yellow", "·"),
    JobState.RUNNING: ("cyan", "▶"),
    JobState.SUCCEEDED: ("green", "✓"),
    JobState.FAILED: ("red", "✗"),
    JobState.CANCELLED: ("magenta", "■"),
    JobState.LOST: ("red", "?"),
}
SHOWN = 12
"""Jobs at most, those that have not ended first."""


@dataclass(frozen=True)
class View:
    """One job at one moment."""

    status: JobStatus
    progress: Progress | None = None
    cores: float | None = None
    """CPU seconds a second of all its processes, since the look before."""
    memory_mb: float | None = None


class Watcher:
    """Looks at the jobs again and again; keeps what it needs to say how they move."""

    def __init__(self, backend: JobBackend) -> None:
        self.backend = backend
        self._runs: dict[JobId, RunProgress] = {}
        self._cursors: dict[JobId, Mapping[str, Any]] = {}
        self._used: dict[JobId, tuple[float, float]] = {}
        self._logs: dict[JobId, tuple[int, str]] = {}

    def look(self) -> list[View]:
        """The jobs that have not ended, then those that ended last; the running ones measured."""
        statuses = self.backend.list()
        going = [s for s in statuses if not s.state.ended]
        ended = sorted((s for s in statuses if s.state.ended), key=lambda s: s.ended_at or 0.0, reverse=True)
        going.sort(key=lambda s: (s.state is not JobState.RUNNING, -s.spec.priority, s.submitted_at))
        return [self._view(status) for status in [*going, *ended][: max(SHOWN, len(going))]]

    def log(self, job: JobId, lines: int) -> list[str]:
        """The last lines of its log; remembers how far it has read."""
        offset, text = self._logs.get(job, (0, ""))
        while True:
            chunk = self.backend.logs(job, offset)
            text = ("" if chunk.restarted else text) + chunk.text
            text, moved, offset = text[-CHUNK:], chunk.next_offset != offset, chunk.next_offset
            if not moved:
                break
        self._logs[job] = (offset, text)
        return [line.rsplit("\r", 1)[-1] for line in text.splitlines()[-lines:]]

    def _view(self, status: JobStatus) -> View:
        progress = None
        if status.started_at is not None:
            run = self._runs.setdefault(status.id, RunProgress(wovr_home() / "runs" / status.spec.run, status.stages))
            chunk = self.backend.metrics(status.id, self._cursors.get(status.id))
            self._cursors[status.id] = chunk.cursor
            run.add(chunk)
            progress = run.now()
        if status.state is not JobState.RUNNING or status.pid is None:
            self._used.pop(status.id, None)
            return View(status, progress, memory_mb=status.peak_memory_mb)
        found, now = usage(family(status.id, [status.pid])), time.monotonic()
        before, when = self._used.get(status.id, (found.cpu_seconds, now))
        self._used[status.id] = (found.cpu_seconds, now)
        cores = max(0.0, found.cpu_seconds - before) / (now - when) if now - when > 0.1 else None
        return View(status, progress, cores, found.memory_mb)


def watch(backend: JobBackend, job: JobId | None, interval: float, once: bool, console: Console | None = None) -> None:
    """Show the jobs until the user leaves (q, Ctrl-C), or all have ended where there is no terminal."""
    if not 0.1 <= interval <= 3600:
        raise WovrError(f"--interval {interval:g} is out of range; 0.1 to 3600 seconds")
    console = console or Console()
    watcher = Watcher(backend)
    if once:
        console.print(screen(watcher.look(), None, [], console))
    elif console.is_terminal and sys.stdin.isatty():
        _watch_live(watcher, job, interval, console)
    else:
        _watch_lines(watcher, interval)


def _watch_live(watcher: Watcher, job: JobId | None, interval: float, console: Console) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        pressed_keys() as keys,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            views = watcher.look()[: max(3, console.height - 9)]
            chosen = _chosen(views, job)
            lines = watcher.log(chosen.status.id, console.size.height) if chosen else []
            live.update(screen(views, chosen, lines, console), refresh=True)
            key = keys(interval)
            if key == "q":
                return
            if key in ("up", "down") and chosen is not None:
                ids = [view.status.id for view in views]
                step = 1 if key == "down" else -1
                job = ids[(ids.index(chosen.status.id) + step) % len(ids)]


def _chosen(views: Sequence[View], job: JobId | None) -> View | None:
    return next((view for view in views if view.status.id == job), views[0] if views else None)


def _watch_lines(watcher: Watcher, interval: float) -> None:
    """A line whenever something moved: for logs and pipes."""
    said: dict[JobId, str] = {}
    while True:
        views = watcher.look()
        for view in views:
            line = line_of(view)
            if said.get(view.status.id) != line and (not view.status.state.ended or view.status.id in said):
                print(time.strftime("%H:%M:%S"), line, flush=True)
                said[view.status.id] = line
        if all(view.status.state.ended for view in views):
            return
        time.sleep(interval)


def line_of(view: View) -> str:
    """One job in one line of plain text."""
    s, p = view.status, view.progress
    parts = [s.id, f"{s.spec.kind}/{s.spec.run}", str(s.state)]
    if p is not None and p.stage and s.state is JobState.RUNNING:
        steps = f"{p.step}/{p.total}" if p.total else str(p.step)
        parts.append(f"{p.stage} {p.phase} {steps}".replace("  ", " "))
        if p.curve:
            parts.append(f"{p.curve_name} {p.curve[-1]:.4g}")
    return "  ".join([*parts, s.reason]).rstrip()


# -- the picture


def screen(views: Sequence[View], chosen: View | None, lines: Sequence[str], console: Console) -> RenderableType:
    """The whole screen: a summary, a table of jobs and, below it, the chosen one's log."""
    if not views:
        return Text("no jobs; submit one with `wovr jobs submit pipeline --recipe demo`")
    top = Group(_summary(views), _table(views, chosen, console.width))
    if chosen is None:
        return top
    # Above: the summary, the table's header and rows. Below: the panel's frame, the line of help.
    room = max(3, console.height - (len(views) + 2) - 2 - 1)
    text = Text("\n".join(lines[-room:]), no_wrap=True, overflow="ellipsis")
    spec = chosen.status.spec
    title = Text(f" {chosen.status.id}  {spec.kind} {spec.recipe}".rstrip() + f"  run {spec.run} ")
    subtitle = Text(f" {chosen.status.reason} ") if chosen.status.reason else None
    log = Panel(text, title=title, title_align="left", subtitle=subtitle, subtitle_align="left", height=room + 2)
    return Group(top, log, Text("↑ ↓ choose   q leave (the jobs go on)   wovr jobs cancel ID", style="dim"))


def _summary(views: Sequence[View]) -> Text:
    running = [view for view in views if view.status.state is JobState.RUNNING]
    queued = sum(view.status.state is JobState.QUEUED for view in views)
    reserved = [view.status.spec.resources for view in running]
    cores, memory = sum(r.cores for r in reserved), sum(r.memory_mb for r in reserved)
    return Text.assemble(
        ("wovr jobs", "bold"),
        f"   {len(running)} running, {queued} waiting   reserved: {cores} cores, {memory:,} MB   ",
        (time.strftime("%H:%M:%S"), "dim"),
    )


def _table(views: Sequence[View], chosen: View | None, width: int) -> Table:
    """Narrow terminals (below 120 columns) do without curve, cores and memory."""
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("", width=1)
    table.add_column("job", no_wrap=True, width=6)
    table.add_column("what", no_wrap=True, ratio=4, overflow="ellipsis")
    table.add_column("state", no_wrap=True, width=11)
    table.add_column("time", justify="right", no_wrap=True, width=7)
    table.add_column("stage", no_wrap=True, ratio=6, overflow="ellipsis")
    table.add_column("progress", no_wrap=True, ratio=3, min_width=8)
    table.add_column("left", justify="right", no_wrap=True, width=7)
    wide = width >= 120
    if wide:
        table.add_column("curve", no_wrap=True, width=CURVE)
        table.add_column("", no_wrap=True, width=12, overflow="ellipsis")
        table.add_column("cores", justify="right", no_wrap=True, width=5)
        table.add_column("MB", justify="right", no_wrap=True, width=6)
    for view in views:
        cells = _cells(view, chosen is not None and view.status.id == chosen.status.id)
        table.add_row(*cells, *(_figures(view) if wide else ()))
    return table


def _cells(view: View, is_chosen: bool) -> list[RenderableType]:
    s, p = view.status, view.progress
    color, sign = STYLES[s.state]
    took = None if s.started_at is None else (s.ended_at or time.time()) - s.started_at
    stage: RenderableType = Text(s.reason, "dim")
    bar: RenderableType = Text("")
    left = ""
    if s.state is JobState.RUNNING and p is not None:
        stage, left = Text(_stage(p)), clock(p.seconds_left)
        if p.fraction is not None:
            bar = ProgressBar(total=1.0, completed=p.fraction, style="bright_black", complete_style=color)
        elif p.step:
            bar = Text(f"step {p.step}")
    bold = "bold" if is_chosen else ""
    return [
        Text(">" if is_chosen else " ", style="bold"),
        Text(s.id[:6], style=bold),
        Text(f"{s.spec.kind} {s.spec.run}", style=bold),
        Text(f"{sign} {s.state}", style=color),
        Text(clock(took)),
        stage,
        bar,
        Text(left),
    ]


def _stage(p: Progress) -> str:
    if not p.stage:
        return "starting"
    number = f"{min(p.done + 1, p.stages)}/{p.stages} " if p.stages else ""
    return f"{number}{p.stage} {p.phase}".rstrip()


def _figures(view: View) -> list[RenderableType]:
    p = view.progress
    running = view.status.state is JobState.RUNNING
    value = f"{p.curve_name.rsplit('/', 1)[-1][:6]} {p.curve[-1]:.3g}" if p is not None and p.curve else ""
    return [
        Text(sparkline(p.curve) if p is not None else "", style=STYLES[view.status.state][0]),
        Text(value, style="dim"),
        Text("" if view.cores is None else f"{view.cores:.1f}"),
        Text("" if view.memory_mb is None else f"{view.memory_mb:,.0f}", style="" if running else "dim"),
    ]
