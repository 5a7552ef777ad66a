"""An annotator's session in a real browser: claim, flag and hand in by keyboard, while the server is killed twice.

The app runs as its own process, as `wovr app` starts it, over made-up rollouts with replays. Nobody thinks here: the
rate is what page and server allow. Afterwards the logs on the disk are compared with every key that was pressed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apps.bench import Row, row
from apps.bench.browser import chromium
from workbench.jobs.kinds import module_command
from workbench.review.log import ReviewLog
from workbench.scrubber.sample import numbered_rollout
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.scrubber.spans import LABELS
from wovr_core.audit.outcomes import audit_rollout
from wovr_core.data.episode_files import write_episode, write_rollout
from wovr_core.files import write_json

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE_MS = 120_000
"""For the page to go on after a kill, on a machine that is busy."""
RUN = "made-up"
_HOST = ".wovr-review"
_SETTLED = """([before, handed]) => {
  const host = document.querySelector('.wovr-review'), page = host?.wovrReview;
  if (!page || page.stats.handed < handed) return false;
  if (host.dataset.state === 'done') return true;
  const root = page.scrubber()?.root;
  return host.dataset.state === 'ready' && host.dataset.item !== before && root?.dataset.state === 'ready'
    && page.scrubber().meta.id === host.dataset.item;
}"""

Marked = tuple[int, int, str, int]
"""(first frame, last frame, label, severity)"""


@dataclass
class Session:
    """What came of one."""

    expected: dict[str, Marked] = field(default_factory=dict)
    """Item -> the span that was drawn by keys."""
    seconds: list[float] = field(default_factory=list)
    """Per item without a kill: from its pictures to the next one's."""
    next_ms: list[float] = field(default_factory=list)
    """Per item without a kill: from Enter to the next item's pictures."""
    outages: list[float] = field(default_factory=list)
    """Seconds from the kill until the page had gone on by itself."""
    starts: list[float] = field(default_factory=list)
    """Seconds that the new server needed until it answered, of these."""


@dataclass(frozen=True)
class Loss:
    """What the disk lacks of what was pressed."""

    spans: int
    """Spans that are not in the run's annotation log as they were drawn."""
    items: int
    """Items that were handed in and have no submission, or one with other spans."""
    doubled: int
    """Submissions of an item beyond the first."""


def run(items: int = 50, chunks: int = 9, size: int = 64) -> list[Row]:
    """All rows: rates, losses, and how long a killed server keeps an annotator waiting."""
    with tempfile.TemporaryDirectory(prefix="wovr-review-") as home:
        folder = made_up_run(Path(home) / "runs", items + 2, chunks, size)
        session = annotate(Path(home), items, kills=(items // 3, 2 * items // 3))
        loss = lost(folder, session)
    pace = float(np.median(session.seconds))
    return [
        row("items flagged and handed in by keyboard", len(session.expected), "items"),
        row("items_per_minute: pressed without thinking", 60 / pace, "items/min"),
        row("Enter to the next item's pictures, median", float(np.median(session.next_ms)), "ms"),
        row("Enter to the next item's pictures, 95th percentile", float(np.percentile(session.next_ms, 95)), "ms"),
        row("server killed (SIGKILL) and started again", len(session.outages), "times"),
        row("server_restart_seconds: until it answers, longest", max(session.starts), "s"),
        row("kill until the page went on by itself, longest", max(session.outages), "s", max(session.starts)),
        row("lost: spans", loss.spans, "spans", 0.0),
        row("lost: items handed in", loss.items, "items", 0.0),
        row("handed in twice", loss.doubled, "items", 0.0),
    ]


def annotate(home: Path, items: int, kills: tuple[int, ...] = ()) -> Session:
    """Work through so many items of the runs under `home`.

    The server is killed within each item of `kills`: with the first, third, ... right after the span's keys, with the
    others right after Enter.
    """
    session = Session()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(home))
        browser = stack.enter_context(chromium())
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{server.url}/review")
        page.wait_for_function(_SETTLED, arg=[None, 0], timeout=PATIENCE_MS)
        for n in range(items):
            _one(page, server, session, n, kills)
        page.close()
    return session


def _one(page: Page, server: Server, session: Session, n: int, kills: tuple[int, ...]) -> None:
    item = str(page.locator(_HOST).get_attribute("data-item"))
    killed = n in kills
    early = killed and kills.index(n) % 2 == 0
    begin = time.perf_counter()
    session.expected[item] = _flag(page, n)
    fell = time.perf_counter()
    if early:
        server.kill()
    pressed = time.perf_counter()
    page.keyboard.press("Enter")
    if killed and not early:
        fell = time.perf_counter()
        server.kill()
    if killed:
        session.starts.append(server.start())
    page.wait_for_function(_SETTLED, arg=[item, n + 1], timeout=PATIENCE_MS)
    now = time.perf_counter()
    if killed:
        session.outages.append(now - fell)
    else:
        session.seconds.append(now - begin)
        session.next_ms.append(1000 * (now - pressed))


def _flag(page: Page, n: int) -> Marked:
    """Draw one span by keys alone."""
    first, length, label, severity = 1 + n % 5, 2 + n % 3, n % 9, 1 + n % 3
    page.keyboard.press("Home")
    for key in ["ArrowRight"] * first + ["i"] + ["ArrowRight"] * length + ["o"]:
        page.keyboard.press(key)
    page.keyboard.press(f"Digit{label + 1}")
    page.keyboard.press(f"Shift+Digit{severity}")
    return first, first + length, LABELS[label].key, severity


def lost(folder: Path, session: Session) -> Loss:
    """Compare a run's logs with what was pressed."""
    spans, lines = SpanLog(folder / LOG_NAME), ReviewLog(folder).lines()
    no_span = no_item = doubled = 0
    for item, marked in session.expected.items():
        key = item.rsplit("/", 1)[1]
        no_span += [(s.start, s.end, s.label, s.severity) for s in spans.spans(key)] != [marked]
        handed = [line for line in lines if line.op == "submit" and line.rollout == key]
        found = [(s.start, s.end, s.label, s.severity) for line in handed[:1] for s in line.spans]
        no_item += found != [marked]
        doubled += max(0, len(handed) - 1)
    return Loss(no_span, no_item, doubled)


def made_up_run(below: Path, count: int, chunks: int, size: int) -> Path:
    """A run folder with `count` imagined rollouts and their replays, for a queue to offer."""
    folder = below / RUN
    rollout, episode = numbered_rollout(chunks, size)
    rows = []
    for i in range(count):
        name = f"made-{i:04d}"
        info = dict(rollout.info) | {"success_threshold": "0.5"}
        one = replace(rollout, id=name, group_id=f"group-{i // 4}", info=info)
        real = replace(episode, id=name)
        write_rollout(folder / "imagine" / "rollouts", one)
        write_episode(folder / "audit" / "episodes", real)
        audited = audit_rollout(one, real)
        rows.append(
            {**asdict(audited), "task": str(audited.task), "divergence": [float(d) for d in audited.divergence]}
        )
    write_json(folder / "audit" / "rows.json", rows)
    for stage in ("imagine", "audit"):
        write_json(folder / stage / "outputs.json", {"outputs": {}, "seconds": 1.0})
    config = {"name": "smoke", "keyframes": {"divergence_threshold": 12.0}}
    write_json(folder / "run.json", {"schema": 1, "recipe": "smoke", "config": config, "wovr": "0", "machine": {}})
    return folder


class Server:
    """The app in a process of its own, always at one port; a context manager."""

    def __init__(self, home: Path) -> None:
        self._home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    def start(self) -> float:
        """Seconds until it answers. Raises RuntimeError when it does not."""
        begin = time.perf_counter()
        command = module_command("apps.cli", "app", "--no-browser", "--port", str(self._port))
        environment = os.environ | {"WOVR_HOME": str(self._home)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while time.perf_counter() - begin < PATIENCE_MS / 1000:
            if self._process.poll() is not None:
                raise RuntimeError(f"the app ended with exit code {self._process.returncode}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/review", timeout=30) as answer:
                if answer.status == 200:
                    return time.perf_counter() - begin
            time.sleep(0.05)
        raise RuntimeError("the app did not answer")

    def kill(self) -> None:
        """As by the power going: nothing is said goodbye to."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
