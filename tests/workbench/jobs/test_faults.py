"""Deaths: of the app, of supervisors, of jobs; a hundred launches at once; a job that will not die."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.local import LocalBackend
from workbench.jobs.processes import ProcessKey, family
from workbench.jobs.records import JobFolder
from wovr_core.errors import WovrError
from wovr_core.files import write_json

pytestmark = pytest.mark.fault


def start_app(home: Path, code: str) -> subprocess.Popen:
    """Another process that uses the backend, as an app or a notebook does; `submit(i, ...)` is ready for it."""
    prelude = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import conftest
        from workbench.jobs.local import LocalBackend
        from workbench.jobs.spec import JobSpec, Resources

        def submit(key, run, **parameters):
            return LocalBackend().submit(JobSpec("probe", run, parameters=parameters, resources=Resources()), key)
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    environment = {**os.environ, "WOVR_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)


def test_jobs_outlive_the_app_and_keep_their_exit_codes(local, home):
    """kill -9 of the app, with all that it has in its process group, while three jobs run."""
    app = start_app(
        home,
        """
        for i in range(3):
            print(submit(f"k{i}", f"r{i}", mode="exit", seconds=4.0, count=i), flush=True)
        time.sleep(60)
        """,
    )
    jobs = [app.stdout.readline().strip() for _ in range(3)]
    deadline = time.monotonic() + 20
    while any(local.status(j).pid is None for j in jobs) and time.monotonic() < deadline:
        time.sleep(0.02)
    before = [local.status(j) for j in jobs]
    assert all(s.state is JobState.RUNNING for s in before)
    app.kill()
    app.wait()

    asked = time.monotonic()
    again = LocalBackend(home)
    assert again.adopt() == []  # each still has its supervisor
    after = [again.status(j) for j in jobs]
    assert time.monotonic() - asked < 5
    assert [s.pid for s in after] == [s.pid for s in before]
    assert all(s.state is JobState.RUNNING for s in after)
    ended = [contract.wait(again, j, 20) for j in jobs]
    assert [s.exit_code for s in ended] == [0, 1, 2]
    assert [s.state for s in ended] == [JobState.SUCCEEDED, JobState.FAILED, JobState.FAILED]


def kill_supervisor(home: Path, job: str) -> None:
    key = JobFolder(home / "jobs" / job).state().supervisor
    assert key.signal(signal.SIGKILL)
    while key.alive():
        time.sleep(0.01)


def test_a_job_outlives_its_supervisor_and_is_adopted(local, probe, home, awake):
    job = local.submit(probe("polite"), "k")
    awake(local, job)
    before = local.status(job)
    kill_supervisor(home, job)
    again = LocalBackend(home)
    asked = time.monotonic()
    assert again.adopt() == [job]
    assert again.adopt() == []
    after = again.status(job)
    assert time.monotonic() - asked < 5
    assert (after.state, after.pid, after.attempt) == (JobState.RUNNING, before.pid, 1)
    again.stop(job)
    assert contract.wait(again, job, 12).state is JobState.CANCELLED
    assert "checkpointed" in again.logs(job).text


def test_what_ended_unseen_is_lost_unless_its_outputs_are_there(local, probe, home, awake):
    jobs = [local.submit(probe("sleep", seconds=60, run=run), run) for run in "ab"]
    for job in jobs:
        awake(local, job)
        pid = local.status(job).pid
        kill_supervisor(home, job)
        os.kill(pid, signal.SIGKILL)
    # As if its kind had named the file that is written last.
    folder = JobFolder(home / "jobs" / jobs[1])
    record = folder.job() | {"finished": "runs/b/outputs.json"}
    write_json(folder.path / "job.json", record)
    write_json(home / "runs" / "b" / "outputs.json", {})
    lost, complete = (contract.wait(local, job, 10) for job in jobs)
    assert (lost.state, lost.exit_code) == (JobState.LOST, None)
    assert "restarted" in lost.reason
    assert (complete.state, complete.exit_code) == (JobState.SUCCEEDED, None)
    local.retry(jobs[0])
    awake(local, jobs[0], "attempt 2")


def test_a_waiting_job_outlives_its_supervisor(local, probe, home, awake, until):
    first = local.submit(probe("sleep", seconds=60, cores=4, run="a"), "a")
    awake(local, first)
    second = local.submit(probe("say", cores=4, run="b"), "b")
    kill_supervisor(home, second)
    assert LocalBackend(home).adopt() == [second]
    local.stop(first)
    assert contract.wait(local, second, 15).state is JobState.SUCCEEDED


def test_a_job_killed_by_the_system_says_so(local, probe, awake):
    job = local.submit(probe("sleep", seconds=60), "k")
    awake(local, job)
    os.kill(local.status(job).pid, signal.SIGKILL)
    status = contract.wait(local, job, 10)
    assert (status.state, status.exit_code) == (JobState.FAILED, -9)
    assert "SIGKILL" in status.reason
    assert "memory" in status.reason


@pytest.mark.parametrize("mode", ["brood", "stubborn"])
def test_cancel_ends_everything_within_ten_seconds(local, probe, awake, mode):
    """Grandchildren in sessions of their own, deaf ones, orphans, and one that cleared its environment."""
    job = local.submit(probe(mode, seconds=60), "k")
    awake(local, job)
    state = JobFolder(local.jobs / job).state()
    members = family(job, [state.supervisor.pid])
    assert len(members) == (5 if mode == "brood" else 1)
    assert len({os.getsid(key.pid) for key in members}) == len(members)
    asked = time.monotonic()
    local.stop(job)
    assert contract.wait(local, job, 10).state is JobState.CANCELLED
    assert time.monotonic() - asked < 10
    assert [key for key in members if key.alive()] == []


def test_a_hundred_launches_of_one_key_are_one_process(local, home):
    """From five processes with twenty threads each, all at the same moment."""
    begin = time.time() + 3.0
    code = f"""
        from concurrent.futures import ThreadPoolExecutor
        def launch(_):
            time.sleep(max(0.0, {begin} - time.time()))
            return submit("the key", "r", mode="count", seconds=1.0, note="started")
        with ThreadPoolExecutor(20) as pool:
            print(len(ids := list(pool.map(launch, range(20)))), *set(ids))
    """
    apps = [start_app(home, code) for _ in range(5)]
    said = [app.communicate(timeout=60)[0].split() for app in apps]
    assert [words[0] for words in said] == ["20"] * 5
    jobs = {words[1] for words in said}
    assert len(jobs) == 1
    assert all(len(words) == 2 for words in said)
    assert contract.wait(local, jobs.pop(), 20).state is JobState.SUCCEEDED
    assert len((home / "started").read_text().split()) == 1
    assert len(local.list()) == 1
    assert [p.name for p in local.jobs.iterdir() if p.is_dir() and p.name.startswith(".")] == [".open"]


def test_retries_at_once_are_one_attempt(local, probe, home):
    job = local.submit(probe("exit", count=3), "k")
    contract.wait(local, job, 20)

    def retry(_):
        try:
            LocalBackend(home).retry(job)
            return 1
        except WovrError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(retry, range(8))) == 1
    assert contract.wait(local, job, 20).attempt == 2


def test_a_full_disk_keeps_no_exit_code_from_being_kept(small_disk, probe, monkeypatch):
    """The state cannot be written when the job ends; it is as soon as there is room."""
    monkeypatch.setenv("WOVR_HOME", str(small_disk))
    backend = LocalBackend(small_disk)
    job = backend.submit(probe("exit", seconds=1.0, count=4), "k")
    deadline = time.monotonic() + 10
    while backend.status(job).pid is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process = JobFolder(backend.jobs / job).state().process
    filler = fill(small_disk)
    while process.alive():
        time.sleep(0.05)
    time.sleep(0.5)
    assert backend.status(job).state is JobState.RUNNING
    filler.unlink()
    status = contract.wait(backend, job, 15)
    assert (status.state, status.exit_code) == (JobState.FAILED, 4)


def test_a_full_disk_refuses_a_launch_in_words(small_disk, probe, monkeypatch):
    monkeypatch.setenv("WOVR_HOME", str(small_disk))
    backend = LocalBackend(small_disk)
    filler = fill(small_disk)
    with pytest.raises(WovrError, match="No space left on device"):
        backend.submit(probe("say"), "k")
    assert list(backend.list()) == []
    filler.unlink()
    assert contract.wait(backend, backend.submit(probe("say"), "k"), 15).state is JobState.SUCCEEDED


def fill(disk: Path) -> Path:
    """Leave no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        (disk / "more").write_bytes(bytes(4096))
    return filler


def test_a_process_key_is_of_the_living():
    assert ProcessKey.of(os.getpid()).alive()
    assert ProcessKey.of(2**22 + 1) is None
