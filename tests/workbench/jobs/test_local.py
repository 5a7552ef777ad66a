"""Jobs on this machine: the queue at work, retries, what a job sees, and what survives whose death."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.processes import ProcessKey, family
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec
from wovr_core.errors import CorruptFileError


def test_jobs_wait_for_cores_and_go_by_priority(local, probe, until):
    first = local.submit(probe("sleep", seconds=30, cores=3, run="a"), "a")
    until(local, first, JobState.RUNNING)
    low = local.submit(probe("sleep", seconds=30, cores=3, run="b"), "b")
    high = local.submit(probe("sleep", seconds=30, cores=3, run="c", priority=1), "c")
    small = local.submit(probe("say", cores=1, run="d", priority=-1), "d")
    deadline = time.monotonic() + 10
    while "behind" not in local.status(small).reason and time.monotonic() < deadline:
        time.sleep(0.02)
    assert local.status(small).reason == f"behind job {high}"
    assert local.status(high).reason == "waits for 3 cores (1 free)"
    local.stop(first)
    until(local, high, JobState.RUNNING)
    assert local.status(low).state is JobState.QUEUED
    local.stop(low)  # while it waits: at once
    assert contract.wait(local, low, 3).reason == "cancelled while it waited"
    assert contract.wait(local, small, 10).state is JobState.SUCCEEDED  # nobody large is ahead any more
    local.stop(high)


def test_two_jobs_of_one_run_take_turns(local, probe, until, awake):
    first = local.submit(probe("sleep", seconds=30, run="r"), "a")
    awake(local, first)
    second = local.submit(probe("say", run="r"), "b")
    third = local.submit(probe("say", run="s"), "c")
    assert contract.wait(local, third, 10).state is JobState.SUCCEEDED
    assert local.status(second).reason == f"job {first} works in the same run r"
    local.stop(first)
    assert contract.wait(local, second, 12).state is JobState.SUCCEEDED


def test_a_run_at_work_outside_the_queue_is_waited_for(local, probe, home):
    lock = home / "runs" / "r" / ".lock"  # as `wovr_core.run_folder.Run` holds it
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        job = local.submit(probe("say", run="r"), "k")
        deadline = time.monotonic() + 10
        while not local.status(job).reason and time.monotonic() < deadline:
            time.sleep(0.02)
        status = local.status(job)
        assert (status.state, status.reason) == (JobState.QUEUED, "another wovr works in the run r")
    assert contract.wait(local, job, 15).state is JobState.SUCCEEDED


def test_it_tries_again_by_itself(local, probe):
    job = local.submit(probe("twice", retries=1), "k")
    status = contract.wait(local, job, 30)
    assert (status.state, status.attempt) == (JobState.SUCCEEDED, 2)


def test_bad_input_is_not_tried_again(local, probe):
    status = contract.wait(local, local.submit(probe("exit", count=2, retries=5), "k"), 20)
    assert (status.state, status.attempt, status.exit_code) == (JobState.FAILED, 1, 2)


def test_a_job_sees_only_what_it_may(local, probe, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = local.submit(probe("environment"), "k")
    contract.wait(local, job, 20)
    names = local.logs(job).text.splitlines()[1].split(",")
    assert {"WANDB_MODE", "WOVR_HOME", "WOVR_JOB_ID", "PATH"} <= set(names)
    assert not {"AWS_SECRET_ACCESS_KEY", "WOVR_SUPERVISES", "PYTEST_CURRENT_TEST"} & set(names)


def test_what_cannot_be_started_fails_with_the_reason(local, probe, home):
    register_kind(JobKind("broken", "a command that is not there", lambda spec: ["/nonexistent/program"]))
    status = contract.wait(local, local.submit(JobSpec("broken", "r"), "k"), 20)
    assert status.state is JobState.FAILED
    assert "could not be started" in status.reason
    assert "/nonexistent/program" in status.reason


def test_what_ends_by_itself_in_time_was_not_left_behind(local, probe):
    job = local.submit(probe("helper", seconds=0.3), "k")
    assert contract.wait(local, job, 20).state is JobState.SUCCEEDED
    assert "helped" in local.logs(job).text
    assert "left behind" not in local.logs(job).text


def test_leftovers_are_ended_when_a_job_ends_by_itself(local, probe):
    job = local.submit(probe("brood", seconds=0.2), "k")
    assert contract.wait(local, job, 20).state is JobState.SUCCEEDED
    assert family(job, []) == []
    assert "left behind" in local.logs(job).text


@pytest.mark.parametrize("seconds", [0.0, 2.5])  # ended before the first sample, and sampled
def test_peak_memory_is_recorded(local, probe, seconds):
    job = local.submit(probe("sleep", seconds=seconds), "k")
    peak = contract.wait(local, job, 20).peak_memory_mb
    assert 3 < peak < 100


def test_the_same_key_in_another_home_is_another_job(local, probe, home, tmp_path, awake):
    """A job's processes are found by its id: stopping it must not reach those of another home."""
    other = LocalBackend(tmp_path / "other")
    other.jobs.mkdir(parents=True)
    Capacity(cores=4, memory_mb=8000, gpus=0).write(other.jobs)
    mine, theirs = (backend.submit(probe("polite"), "k") for backend in (local, other))
    try:
        awake(local, mine)
        awake(other, theirs)
        local.stop(mine)
        assert contract.wait(local, mine, 12).state is JobState.CANCELLED
        assert other.status(theirs).state is JobState.RUNNING
    finally:
        other.stop(theirs)
        contract.wait(other, theirs, 12)


def test_a_job_of_a_job_is_not_its_child(local, probe, home, awake):
    """What a job submits has a supervisor of its own, and outlives it."""
    register_kind(JobKind("submits", "submits another job", _submitting))
    outer = local.submit(JobSpec("submits", "outer"), "outer")
    awake(local, outer, "\nsubmitted\n")
    inner = next(status.id for status in local.list() if status.id != outer)
    awake(local, inner)
    local.stop(outer)
    assert contract.wait(local, outer, 12).state is JobState.CANCELLED
    assert local.status(inner).state is JobState.RUNNING
    assert len(family(inner, [])) == 1


def _submitting(spec):
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import conftest
        from workbench.jobs.local import LocalBackend
        from workbench.jobs.spec import JobSpec, Resources
        parameters = {{"mode": "sleep", "seconds": 30.0}}
        LocalBackend().submit(JobSpec("probe", "inner", parameters=parameters, resources=Resources()), "inner")
        print("submitted", flush=True)
        time.sleep(30)
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_damaged_records_do_not_hide_the_others(local, probe, home):
    good = local.submit(probe("say", run="a"), "good")
    bad = local.submit(probe("say", run="b"), "bad")
    for job in (good, bad):
        contract.wait(local, job, 20)
    for text in ("", "{", "[]", '{"state": "succeeded", "unknown": 1}'):
        (home / "jobs" / bad / "state.json").write_text(text)
        assert [status.id for status in local.list()] == [good]
        with pytest.raises(CorruptFileError, match="state"):
            local.status(bad)


def test_a_process_is_told_from_a_later_one_of_the_same_pid():
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    key = ProcessKey.of(process.pid)
    assert key.alive()
    assert psutil.Process(process.pid).create_time() == pytest.approx(
        psutil.boot_time() + key.started / os.sysconf("SC_CLK_TCK"), abs=0.1
    )
    later = ProcessKey(key.pid, key.started - 1, key.boot)
    assert not later.alive()
    assert not later.signal(signal.SIGKILL)
    assert process.poll() is None
    assert key.signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while key.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not key.alive()  # a zombie is not alive
    process.wait()
    assert not key.signal(signal.SIGKILL)
