"""Launch and JobWatch without a browser: the questions of their module, and what a cell may call."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from workbench.jobs.backend import UnknownJobError, wait
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec, Resources
from workbench.server.roles import ForbiddenError, Role, User
from workbench.widgets import LAUNCH_FILES, JobWatch, Launch
from workbench.widgets.launch import _Desk
from wovr_core.errors import WovrError


@dataclass(frozen=True)
class NapParameters:
    seconds: float = 0.0


def _nap(spec: JobSpec) -> list[str]:
    return [sys.executable, "-c", f"import time; time.sleep({float(spec.parameters.get('seconds', 0.0))})"]


register_kind(JobKind("nap", "sleeps", _nap, parameters=NapParameters))


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    (tmp_path / "jobs").mkdir()
    Capacity(cores=2, memory_mb=8000).write(tmp_path / "jobs")
    made = LocalBackend(tmp_path)
    yield made
    for status in made.list():
        made.stop(status.id)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(not s.state.ended for s in made.list()):
        time.sleep(0.05)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    monkeypatch.setattr(_Desk, "send", lambda self, content, buffers=None: out.append(content))
    return out


def ask(widget: _Desk, sent: list[dict[str, Any]], **message: Any) -> dict[str, Any]:
    widget._handle_custom_msg({"kind": "ask", "id": "q", "message": message}, [])
    assert (sent[-1]["kind"], sent[-1]["id"]) == ("answer", "q")
    return dict(sent[-1]["answer"])


def test_it_carries_the_apps_module_and_the_cells_draft(backend: LocalBackend) -> None:
    widget = Launch("smoke", "sft", "mine", {"sft.steps": 7, "tasks": [0, 1], "env.view": "full"}, backend=backend)
    assert str(widget._esm) == LAUNCH_FILES[".js"].read_text(encoding="utf-8")
    assert widget.form
    assert widget.draft == {
        "recipe": "smoke", "kind": "sft", "run": "mine",
        "changes": [
            {"key": "sft.steps", "value": "7"}, {"key": "tasks", "value": "[0, 1]"},
            {"key": "env.view", "value": "full"},
        ],
    }  # fmt: skip
    assert widget.status is None
    with pytest.raises(WovrError, match="there is no job yet"):
        widget.cancel()


def test_launched_watched_cancelled_and_resumed(backend: LocalBackend, sent: list[dict[str, Any]]) -> None:
    widget = Launch(backend=backend)
    draft = {"kind": "nap", "run": "r", "parameters": {"seconds": 60.0}, "resources": {"memory_mb": 100}}
    answer = ask(widget, sent, ask="launch", draft=draft, key="from-a-notebook")
    assert widget.job == answer["job"]["id"]
    assert ask(widget, sent, ask="launch", draft=draft, key="from-a-notebook")["job"]["id"] == widget.job
    watch = JobWatch(widget.job[:6], backend=backend)
    assert watch.job == JobWatch(backend=backend).job == widget.job
    assert not watch.form
    watch.cancel()
    assert wait(backend, watch.job, 60).state == "cancelled"  # type: ignore[arg-type]
    assert ask(watch, sent, ask="job", id=watch.job)["job"]["state"] == "cancelled"
    deadline = time.monotonic() + 60
    while "error" in (answer := ask(widget, sent, ask="retry", id=widget.job)):
        assert "just ending" in answer["error"]  # its supervisor may still be on its way out
        assert time.monotonic() < deadline
    status = widget.status
    assert status is not None
    assert status.attempt == 2


def test_there_is_nothing_to_watch(backend: LocalBackend) -> None:
    with pytest.raises(WovrError, match="there are no jobs yet"):
        JobWatch(backend=backend)
    with pytest.raises(UnknownJobError):
        JobWatch("abcdef", backend=backend)


@pytest.mark.security
def test_a_viewers_widget_only_looks(backend: LocalBackend, sent: list[dict[str, Any]]) -> None:
    """A shared kernel may hand out widgets with lesser roles; the form's own button is not what refuses."""
    job = backend.submit(JobSpec("nap", "r", parameters={"seconds": 60.0}, resources=Resources(1, 100)), "by-hand")
    watch = JobWatch(job, backend=backend, user=User("vik", Role.VIEWER))
    with pytest.raises(ForbiddenError):
        watch.cancel()
    draft = {"kind": "nap", "run": "x", "resources": {"memory_mb": 100}}
    for message in ({"ask": "cancel", "id": job}, {"ask": "launch", "draft": draft, "key": "a-long-enough-key"}):
        assert "takes the role operator" in ask(watch, sent, **message)["error"]
    for nonsense in (None, 4, {"kind": "x"}, {"kind": "ask"}, {"kind": "ask", "message": 3, "id": [1]}):
        watch._handle_custom_msg(nonsense, [])
    assert len(backend.list()) == 1
    assert not backend.status(job).state.ended
