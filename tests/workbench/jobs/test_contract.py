"""What `JobBackend` promises, for every backend. A backend is a fixture named in BACKENDS."""

import json
import time

import pytest

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobId, JobState, UnknownJobError
from wovr_core.errors import UnknownNameError, WovrError

BACKENDS = ["local"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def run_metrics(home):
    """Writes lines into the metrics.jsonl of run r's stage sft."""

    def write(*steps: int, mode: str = "a") -> None:
        path = home / "runs" / "r" / "sft" / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            for step in steps:
                file.write(json.dumps({"phase": "training", "step": step, "loss": 1.0 / step}) + "\n")

    return write


def test_a_job_runs_and_succeeds(backend, probe):
    job = backend.submit(probe("say", count=3, note="line"), "k")
    status = contract.wait(backend, job, 30)
    assert (status.state, status.exit_code, status.attempt) == (JobState.SUCCEEDED, 0, 1)
    assert status.submitted_at <= status.started_at <= status.ended_at <= time.time()
    lines = list(contract.follow_lines(backend, job))
    assert [line.rpartition("/")[2] for line in lines if "line " in line] == ["line 0", "line 1", "line 2"]


def test_one_key_is_one_job(backend, probe):
    spec = probe("say", count=1)
    first = backend.submit(spec, "k")
    assert backend.submit(spec, "k") == first
    assert backend.submit(probe("say", count=1, run="other"), "another") != first
    contract.wait(backend, first, 30)
    assert backend.submit(spec, "k") == first
    assert len(backend.list()) == 2


def test_a_key_cannot_name_two_specs(backend, probe):
    backend.submit(probe("say", count=1), "k")
    with pytest.raises(WovrError, match="another spec"):
        backend.submit(probe("say", count=2), "k")


def test_a_failure_keeps_exit_code_and_reason(backend, probe):
    status = contract.wait(backend, backend.submit(probe("exit", count=7), "k"), 30)
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)
    assert "leaves with 7" in status.reason


def test_the_log_is_read_by_offset(backend, probe):
    job = backend.submit(probe("say", count=20), "k")
    contract.wait(backend, job, 30)
    whole, offset = "", 0
    while (chunk := backend.logs(job, offset, limit=7)).next_offset > offset:
        whole, offset = whole + chunk.text, chunk.next_offset
    assert whole == backend.logs(job).text
    assert whole.count("Größe") >= 20
    assert "\ufffd" not in whole
    assert backend.logs(job, offset).text == ""


def test_following_ends_with_the_job(backend, probe):
    job = backend.submit(probe("say", count=5, seconds=0.1), "k")
    seen = "".join(chunk.text for chunk in contract.follow(backend, job, poll=0.05))
    assert backend.status(job).state.ended
    assert seen == backend.logs(job).text


def test_stopping_lets_it_checkpoint(backend, probe, awake):
    job = backend.submit(probe("polite"), "k")
    awake(backend, job)
    backend.stop(job)
    backend.stop(job)
    status = contract.wait(backend, job, 12)
    assert status.state is JobState.CANCELLED
    assert "checkpointed" in backend.logs(job).text
    backend.stop(job)
    assert backend.status(job).state is JobState.CANCELLED


def test_retry_is_another_attempt(backend, probe):
    job = backend.submit(probe("twice"), "k")
    assert contract.wait(backend, job, 30).state is JobState.FAILED
    backend.retry(job)
    status = contract.wait(backend, job, 30)
    assert (status.state, status.attempt, status.exit_code) == (JobState.SUCCEEDED, 2, 0)
    assert status.submitted_at < status.queued_at <= status.started_at
    assert "attempt 1" in (log := backend.logs(job).text)
    assert "attempt 2" in log
    with pytest.raises(WovrError, match="succeeded"):
        backend.retry(job)


def test_what_runs_is_not_retried(backend, probe, awake):
    job = backend.submit(probe("sleep", seconds=30), "k")
    awake(backend, job)
    with pytest.raises(WovrError, match="running"):
        backend.retry(job)
    backend.stop(job)
    contract.wait(backend, job, 12)


def test_metrics_come_as_they_are_written(backend, probe, run_metrics):
    job = backend.submit(probe("say", count=1, run="r"), "k")
    assert backend.metrics(job).lines == ()
    run_metrics(1, 2)
    first = backend.metrics(job)
    assert [(line["stage"], line["step"]) for line in first.lines] == [("sft", 1), ("sft", 2)]
    run_metrics(3)
    second = backend.metrics(job, json.loads(json.dumps(dict(first.cursor))))
    assert [line["step"] for line in second.lines] == [3]
    assert second.restarted == ()
    run_metrics(2, mode="w")
    third = backend.metrics(job, second.cursor)
    assert [line["step"] for line in third.lines] == [2]
    assert third.restarted == ("sft",)
    contract.wait(backend, job, 30)


def test_unknown_jobs_are_named(backend):
    for call in (backend.status, backend.logs, backend.metrics, backend.stop, backend.retry):
        with pytest.raises(UnknownJobError, match="no job 'nothing'"):
            call(JobId("nothing"))


def test_what_cannot_be_is_refused(backend, probe):
    with pytest.raises(UnknownNameError, match="did you mean 'probe'"):
        backend.submit(type(probe("say"))("prob", "r"), "k")
    with pytest.raises(WovrError, match="cores = 512"):
        backend.submit(probe("say", cores=512), "k")
    with pytest.raises(WovrError, match="robot_x"):
        backend.submit(probe("say", custom={"robot_x": 1}), "k")
    assert list(backend.list()) == []


def test_jobs_are_listed_newest_first_and_found_by_prefix(backend, probe):
    first = backend.submit(probe("say", run="a"), "a")
    second = backend.submit(probe("say", run="b"), "b")
    for job in (first, second):
        contract.wait(backend, job, 30)
    assert [status.id for status in backend.list()] == [second, first]
    assert contract.find(backend, first[:6]) == first
    with pytest.raises(UnknownJobError):
        contract.find(backend, "zzz")
