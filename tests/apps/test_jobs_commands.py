"""`wovr jobs` from the outside: what it prints, its exit codes, its screen."""

import io
import json
import sys
import time
from dataclasses import dataclass

import pytest
from rich.console import Console

from apps.cli import main
from apps.jobs_screen import Watcher, line_of, screen, sparkline, watch
from workbench.jobs.backend import JobState, wait
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec
from wovr_core.errors import WovrError
from wovr_core.files import write_json

TALKS = "import time\nprint('the first', flush=True)\ntime.sleep({seconds})\nprint('the last', flush=True)"


@dataclass(frozen=True)
class Talk:
    seconds: float


def _talks(spec: JobSpec) -> list[str]:
    return [sys.executable, "-S", "-c", TALKS.format(seconds=float(spec.parameters["seconds"]))]


register_kind(JobKind("talks", "says two words", _talks, parameters=Talk, stages=lambda spec: ["sft"]))


@pytest.fixture(autouse=True)
def backend(tmp_path, monkeypatch):
    """A machine of one core, whose jobs are ended after the test."""
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    Capacity(cores=1, memory_mb=8000).write(tmp_path / "jobs")
    local = LocalBackend(tmp_path)
    yield local
    for status in local.list():
        local.stop(status.id)
    for status in local.list():
        wait(local, status.id, 20)


def submit(capsys, seconds: float, run: str, *more: str) -> str:
    argv = ["jobs", "submit", "talks", "--run", run, "--parameter", f"seconds={seconds}", "--json", *more]
    assert main(argv) == 0
    return json.loads(capsys.readouterr().out)["id"]


def test_submit_list_logs_cancel_retry(capsys, backend):
    job = submit(capsys, 60, "talk")
    deadline = time.monotonic() + 20
    while "the first" not in backend.logs(job).text.splitlines() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert main(["jobs", "list"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{job}  running")
    assert "talk" in line
    assert main(["jobs", "cancel", job[:5]]) == 0
    assert f"job {job} is cancelled" in capsys.readouterr().out
    assert main(["jobs", "retry", job, "--json"]) == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert (again["id"], again["attempt"]) == (job, 2)
    assert main(["jobs", "cancel", job]) == 0
    capsys.readouterr()
    assert main(["jobs", "logs", job]) == 0
    log = capsys.readouterr().out
    assert log == backend.logs(job).text
    assert log.splitlines().count("the first") >= 1


def test_following_prints_the_log_and_tells_how_it_ended(capsys):
    argv = ["jobs", "submit", "talks", "--run", "r", "--parameter", "seconds=0.2", "--follow"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.index("\nthe first\n") < out.index("\nthe last\n")
    assert "== succeeded" in out


def test_a_dry_run_shows_and_submits_nothing(capsys, backend):
    argv = ["jobs", "submit", "sft", "--recipe", "smoke", "--dry-run"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "run smoke (new)" in shown
    assert "not measured on this machine yet" in shown
    assert main([*argv, "--json", "--cores", "5"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["spec"]["resources"]["cores"] == 5
    assert "cores = 5, this machine has 1" in found["preflight"]["refusals"][0]
    assert list(backend.list()) == []


def test_a_key_submits_once(capsys):
    first = submit(capsys, 0.0, "r", "--key", "mine")
    assert submit(capsys, 0.0, "r", "--key", "mine") == first


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["submit", "talk", "--run", "r"], "did you mean 'talks'"),
        (["submit", "talks"], "needs --run"),
        (["submit", "talks", "--run", "../r", "--parameter", "seconds=1"], "run '../r' is not an id"),
        (["submit", "talks", "--run", "r"], "needs the parameter seconds"),
        (["submit", "talks", "--run", "r", "--parameter", "seconds"], "not of the form NAME=VALUE"),
        (["submit", "sft", "--recipe", "smok"], "did you mean 'smoke'"),
        (["submit", "sft", "--recipe", "smoke", "--cores", "9"], "cores = 9, this machine has 1"),
        (["submit", "sft", "--recipe", "smoke", "--set", "sft.step=1"], "did you mean 'sft.steps'"),
        (["list", "--backend", "cloud"], "unknown backend 'cloud'"),
        (["logs", "nothing"], "there is no job 'nothing'"),
        (["cancel", ""], "there is no job ''"),
        (["watch", "--interval", "0"], "out of range"),
    ],
)
def test_mistakes_are_explained_in_one_line(capsys, argv, message):
    assert main(["jobs", *argv]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_the_screen_shows_state_stage_progress_curve_and_log(capsys, backend, tmp_path):
    running = submit(capsys, 60, "moves")
    waiting = submit(capsys, 60, "waits")
    stage = tmp_path / "runs" / "moves" / "sft"
    write_json(stage / "config.json", {"stage": "train_policy_sft", "config": {"steps": 40}, "inputs": {}})
    lines = [{"phase": "training", "step": s, "loss": 8.0 / s, "seconds": 1.0 * s} for s in (5, 10, 20)]
    (stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    deadline = time.monotonic() + 20
    while (
        "the first" not in backend.logs(running).text.splitlines() or not backend.status(waiting).reason
    ) and time.monotonic() < deadline:
        time.sleep(0.05)

    watcher = Watcher(backend)
    views = watcher.look()
    assert [view.status.id for view in views] == [running, waiting]
    assert views[0].memory_mb > 1
    assert (views[0].progress.step, views[0].progress.total) == (20, 40)
    assert line_of(views[0]) == f"{running}  talks/moves  running  sft training 20/40  loss 0.4"
    for width, columns in ((150, True), (80, False)):
        console = Console(width=width, height=24, file=io.StringIO(), force_terminal=True, color_system=None)
        console.print(screen(views, views[0], watcher.log(running, 24), console))
        text = console.file.getvalue()
        rows = text.splitlines()
        assert len(rows) == 24
        assert all(len(row) <= width for row in rows)
        assert "1 running, 1 waiting" in rows[0]
        assert running[:6] in rows[2]
        assert "sft training" in rows[2]
        assert "0:20" in rows[2]  # 20 steps at a second each are left
        assert ("█▃▁" in rows[2]) == columns
        assert "waits" in rows[3]
        assert "│ the first" in text


def test_watching_where_there_is_no_terminal_prints_lines_and_ends(capsys, backend):
    job = submit(capsys, 0.5, "r")
    watch(backend, job, 0.1, once=False, console=Console(file=io.StringIO()))
    said = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said[-1] == f"{job}  talks/r  succeeded"
    assert len(said) == len(set(said))
    assert backend.status(job).state is JobState.SUCCEEDED


def test_one_look_ends_at_once(capsys, backend):
    assert main(["jobs", "watch", "--once"]) == 0
    assert "no jobs" in capsys.readouterr().out
    with pytest.raises(WovrError, match="out of range"):
        watch(backend, None, 0.0, once=True)


def test_a_curve_of_any_length_fits():
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert sparkline([float(i) for i in range(1000)], 8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([5.0] * 17, 16)) == 16
