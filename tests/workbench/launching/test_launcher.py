"""Roles, keys, quotas, the ledger, and what a watcher sees; real jobs of a small kind."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from workbench.jobs.backend import JobState, JobStatus, MetricsChunk, UnknownJobError, wait
from workbench.jobs.spec import JobSpec, Resources
from workbench.launching.desk import LaunchDesk
from workbench.launching.launcher import Launcher, QuotaError
from workbench.launching.ledger import Ledger
from workbench.launching.watching import CURVE_POINTS, curves, queue_positions
from workbench.server.roles import ForbiddenError, Role, User
from wovr_core.errors import WovrError
from wovr_core.files import write_json

OPERATOR, ANNOTATOR, VIEWER = (
    User(n, r) for n, r in (("olga", Role.OPERATOR), ("anna", Role.ANNOTATOR), ("vik", Role.VIEWER))
)


def tiny(run: str = "r", **parameters: Any) -> JobSpec:
    return JobSpec("tiny", run, parameters=parameters, resources=Resources(1, 100))


def as_draft(spec: JobSpec) -> dict[str, Any]:
    return {"kind": spec.kind, "run": spec.run, "parameters": dict(spec.parameters), "resources": {"memory_mb": 100}}


def test_a_key_is_one_job_for_all_clicks_at_once(launcher: Launcher) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(launcher.launch(OPERATOR, tiny(seconds=30.0), "double-click")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 6
    assert len(set(made)) == len(launcher.jobs()) == 1
    assert [d.act for d in launcher.ledger.deeds()] == ["launch"]
    with pytest.raises(WovrError, match="choose another key"):
        launcher.launch(OPERATOR, tiny("other"), "double-click")
    other = launcher.launch(User("otto", Role.OPERATOR), tiny("other"), "double-click")
    assert other != made[0], "keys of two people are two keys"


def test_keys_are_checked(launcher: Launcher) -> None:
    for key in ("", "short", "x" * 129, "with\nnewline", "ümläut-key", None, 5):
        with pytest.raises(WovrError, match="8 to 128"):
            launcher.launch(OPERATOR, tiny(), key)  # type: ignore[arg-type]
    assert not launcher.jobs()


@pytest.mark.security
@pytest.mark.parametrize("user", [VIEWER, ANNOTATOR])
def test_only_operators_launch_cancel_and_retry(launcher: Launcher, user: User) -> None:
    job = launcher.launch(OPERATOR, tiny(seconds=60.0), "operators-own")
    desk = LaunchDesk(launcher)
    for act in (
        lambda: launcher.launch(user, tiny("x"), "a-key-of-mine"),
        lambda: launcher.cancel(user, job),
        lambda: launcher.retry(user, job),
    ):
        with pytest.raises(ForbiddenError, match="takes the role operator"):
            act()
    for message in (
        {"ask": "launch", "draft": as_draft(tiny("x")), "key": "a-key-of-mine"},
        {"ask": "launch", "draft": {"run": "../../etc"}, "key": "a-key-of-mine"},
        {"ask": "cancel", "id": job},
        {"ask": "retry", "id": job},
    ):
        assert "takes the role operator" in desk.handle(message, user)["error"]
    assert [s.id for s in launcher.jobs()] == [job]
    assert not launcher.backend.status(job).state.ended
    assert desk.handle({"ask": "jobs"}, user)["may_launch"] is False


@pytest.mark.security
def test_a_quota_bounds_what_one_person_has_under_way(launcher: Launcher) -> None:
    for n in range(3):
        launcher.launch(OPERATOR, tiny(f"r{n}", seconds=60.0), f"number-{n}-key")
    with pytest.raises(QuotaError, match="olga has 3 jobs"):
        launcher.launch(OPERATOR, tiny("r3"), "number-3-key")
    assert launcher.launch(OPERATOR, tiny("r0", seconds=60.0), "number-0-key"), "the same launch is not another"
    other = launcher.launch(User("otto", Role.OPERATOR), tiny("r4"), "number-4-key")
    first = launcher.jobs()[-1].id
    launcher.cancel(OPERATOR, first)
    wait(launcher.backend, first, 30)
    launcher.launch(OPERATOR, tiny("r5"), "number-5-key")
    with pytest.raises(QuotaError):
        launcher.retry(OPERATOR, first)
    assert {d.user for d in launcher.ledger.deeds() if d.job == other} == {"otto"}
    assert [d.act for d in launcher.ledger.deeds()] == ["launch"] * 4 + ["cancel", "launch"]


def test_a_watcher_sees_log_curves_progress_and_end(launcher: Launcher) -> None:
    desk = LaunchDesk(launcher)
    job = desk.handle({"ask": "launch", "draft": as_draft(tiny(code=1)), "key": "watched-job"}, OPERATOR)["job"]
    assert (job["user"], job["state"]) in {("olga", "queued"), ("olga", "running"), ("olga", "failed")}
    wait(launcher.backend, job["id"], 60)
    seen = desk.handle({"ask": "job", "id": job["id"]}, VIEWER)
    assert (seen["job"]["state"], seen["job"]["exit_code"]) == ("failed", 1)
    lines = seen["log"]["text"].splitlines()
    assert lines[lines.index("awake") + 1] == "over", "without the terminal's colours"
    (curve,) = seen["curves"]
    assert (curve["stage"], curve["phase"], curve["name"]) == ("sft", "training", "loss")
    assert curve["values"] == [1 / (1 + step) for step in range(0, 400, 20)]
    assert (seen["progress"]["step"], seen["progress"]["total"]) == (380, 400)
    assert seen["stages"] == [{"name": "sft", "state": "begun"}]
    again = desk.handle(
        {"ask": "job", "id": job["id"], "offset": seen["log"]["next"], "digest": seen["digest"]}, VIEWER
    )
    assert again["curves"] is None
    assert again["log"]["text"] == ""
    deadline = time.monotonic() + 60
    while "error" in (retried := desk.handle({"ask": "retry", "id": job["id"]}, OPERATOR)):
        assert "just ending" in retried["error"]
        assert time.monotonic() < deadline
    assert retried["job"]["attempt"] == 2
    wait(launcher.backend, job["id"], 60)
    (row,) = desk.handle({"ask": "jobs"}, VIEWER)["jobs"]
    assert (row["id"], row["attempt"], row["position"]) == (job["id"], 2, None)


def test_places_in_the_queue() -> None:
    def status(job: str, state: JobState, at: float, priority: int = 0, again: float | None = None) -> JobStatus:
        return JobStatus(job, JobSpec("sft", "r", priority=priority), state, 1, at, again)  # type: ignore[arg-type]

    queued = JobState.QUEUED
    found = [
        status("c", queued, 3),
        status("a", queued, 1),
        status("b", queued, 9, 5),
        status("d", JobState.RUNNING, 0),
        status("retried", queued, 0, again=2),
    ]
    assert queue_positions(found) == {"b": 1, "a": 2, "retried": 3, "c": 4}


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    lines = tuple({"stage": "s", "step": n, "loss": n * 2.0, "flag": True, "seconds": 1.0} for n in range(5000))
    (found,) = curves(MetricsChunk(lines))
    assert len(found["steps"]) == CURVE_POINTS
    assert (found["steps"][0], found["steps"][-1], found["values"][-1]) == (0, 4999, 9998.0)
    assert all(v == 2 * s for s, v in zip(found["steps"], found["values"], strict=True))


def test_a_preflight_comes_with_the_command_and_refuses_before_the_launch(launcher: Launcher) -> None:
    desk = LaunchDesk(launcher)
    draft = {"kind": "sft", "recipe": "smoke", "run": "mine", "changes": [{"key": "sft.steps", "value": "7"}]}
    found = desk.handle({"ask": "check", "draft": draft}, VIEWER)
    assert [s["name"] for s in found["preflight"]["stages"]] == ["collect", "sft"]
    assert "--set sft.steps=7" in found["command"]
    greedy = draft | {"resources": {"cores": 64}}
    assert "this machine has 2" in desk.handle({"ask": "check", "draft": greedy}, VIEWER)["preflight"]["refusals"][0]
    refused = desk.handle({"ask": "launch", "draft": greedy, "key": "greedy-launch"}, OPERATOR)
    assert "this machine has 2" in refused["error"]
    write_json(launcher.home / "runs" / "mine" / "run.json", {"recipe": "demo"})
    assert (
        "belongs to the recipe"
        in desk.handle({"ask": "launch", "draft": draft, "key": "another-recipe"}, OPERATOR)["error"]
    )
    assert not launcher.jobs()


@pytest.mark.security
def test_questions_that_are_none(launcher: Launcher) -> None:
    desk = LaunchDesk(launcher)
    for message in (
        None, 5, [], {}, {"ask": 7}, {"ask": "__init__"}, {"ask": "job"}, {"ask": "job", "id": "../x"},
        {"ask": "job", "id": "nothere"}, {"ask": "cancel", "id": {"a": 1}}, {"ask": "retry", "id": "x" * 99},
        {"ask": "options", "recipe": 5}, {"ask": "options", "recipe": "demo", "text": "x" * 101},
        {"ask": "launch"}, {"ask": "launch", "draft": {}, "key": None}, {"ask": "check", "draft": 5},
    ):  # fmt: skip
        assert desk.handle(message, OPERATOR)["error"]
    with pytest.raises(UnknownJobError):
        launcher.cancel(OPERATOR, "nothere")
    assert not launcher.jobs()


@pytest.mark.fault
def test_a_torn_line_of_the_ledger_is_passed_over(launcher: Launcher) -> None:
    ledger = Ledger(launcher.home / "jobs")
    ledger.write("a", "olga", "launch")
    with ledger.path.open("a") as file:
        file.write('{"job": "b", "us\n')
    time.sleep(0.01)
    ledger.write("c", "otto", "launch")
    assert ledger.launched_by() == {"a": "olga", "c": "otto"}
