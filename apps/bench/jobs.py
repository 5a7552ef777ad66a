"""What supervision costs: the wait before a job starts, CPU and memory beside it, how late its log is seen.

The same jobs are measured on every backend through `JobBackend`; the baseline is `subprocess` alone where there
is one. Its own kind of job is a sleeping or printing Python, so that what is measured is the backend.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from apps.bench import Row, row
from apps.bench.home import at_home
from workbench.jobs.backend import JobBackend, JobId, JobState, wait
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.local import LocalBackend
from workbench.jobs.processes import ProcessKey, usage
from workbench.jobs.queue import Capacity
from workbench.jobs.records import JobFolder
from workbench.jobs.spec import JobSpec, Resources, Scalar

_NOW = "import time; print(time.time(), flush=True)"
_PRINTING = "import time\nfor _ in range({count}): print(time.time(), flush=True); time.sleep(0.05)"
_SLEEPING = "import time; time.sleep(600)"


@dataclass(frozen=True)
class JobsBenchParameters:
    """Of the bench's own kind of job."""

    mode: str
    count: int = 0


def _argv(spec: JobSpec) -> list[str]:
    count = int(spec.parameters.get("count", 0))
    code = {"now": _NOW, "print": _PRINTING.format(count=count), "sleep": _SLEEPING}[str(spec.parameters["mode"])]
    return [sys.executable, "-S", "-c", code]


def run(launches: int = 10, lines: int = 60, seconds: float = 20.0, idle: int = 4) -> list[Row]:
    """`idle` jobs sleep for `seconds` while their supervisors are measured."""
    register_kind(JobKind("bench_job", "what `wovr bench jobs` measures with", _argv, parameters=JobsBenchParameters))
    plain = _plain_start(launches)
    rows = []
    with _home(cores=idle + 1):
        local = LocalBackend()
        rows += _of_backend(local, launches, lines, plain)
        rows += _overhead(local, idle, seconds)
        for ray in _started_ray():
            rows += _of_backend(ray, max(3, launches // 3), lines, plain)
    return rows


def _plain_start(launches: int) -> float:
    """Seconds from asking to the first line of a process started by hand: the baseline."""
    waits = []
    for _ in range(launches):
        asked = time.time()
        said = subprocess.run([sys.executable, "-S", "-c", _NOW], capture_output=True, text=True, check=True).stdout
        waits.append(float(said) - asked)
    return median(waits)


def _of_backend(backend: JobBackend, launches: int, lines: int, plain: float) -> list[Row]:
    submits, starts = [], []
    for _ in range(launches):
        asked = time.time()
        job = _submit(backend, "now")
        submits.append(time.time() - asked)
        assert wait(backend, job, 60).state is JobState.SUCCEEDED
        starts.append(_stamps(backend.logs(job).text)[0] - asked)
    return [
        row(f"{backend.name}: submit returns", 1000 * median(submits), "ms"),
        row(f"{backend.name}: submit to first line", 1000 * median(starts), "ms", 1000 * plain),
        row(f"{backend.name}: log lag, median", 1000 * median(_log_lag(backend, lines)), "ms"),
    ]


def _log_lag(backend: JobBackend, lines: int) -> list[float]:
    """Seconds between a line's printing and its being read by one who looks every 10 ms."""
    job = _submit(backend, "print", lines)
    offset, rest = 0, ""
    lags: list[float] = []
    while len(lags) < lines:
        chunk = backend.logs(job, offset)
        offset, seen = chunk.next_offset, time.time()
        whole, _, rest = (rest + chunk.text).rpartition("\n")
        lags += [seen - stamp for stamp in _stamps(whole)]
        if not chunk.text:
            time.sleep(0.01)
    wait(backend, job, 60)
    return lags


def _overhead(backend: LocalBackend, count: int, seconds: float) -> list[Row]:
    jobs = [_submit(backend, "sleep") for _ in range(count)]
    waiting = _submit(backend, "sleep", cores=count + 1)  # cannot start while the others run
    _until(lambda: all(backend.status(job).pid is not None for job in jobs))
    running = [_supervisor(backend, job) for job in jobs]
    queued = [_supervisor(backend, waiting)]
    time.sleep(2.0)  # past the first sample of their memory
    before, began = [usage([key]).cpu_seconds for key in (*running, *queued)], time.monotonic()
    time.sleep(seconds)
    minutes = (time.monotonic() - began) / 60
    spent = [(usage([key]).cpu_seconds - b) / minutes for key, b in zip((*running, *queued), before, strict=True)]
    private = [_private_mb(key.pid) for key in running]
    resident = usage(running).memory_mb / count
    for job in (waiting, *jobs):
        backend.stop(job)
    began = time.monotonic()
    for job in (waiting, *jobs):
        wait(backend, job, 30)
    return [
        row("local: supervisor's CPU, job running", median(spent[:count]), "s/min"),
        row("local: supervisor's CPU, job waiting", spent[-1], "s/min"),
        row("local: supervisor's memory, its own", median(private), "MB"),
        row("local: supervisor's memory, resident", resident, "MB"),
        row(f"local: {count} jobs cancelled within", time.monotonic() - began, "s"),
    ]


def _submit(backend: JobBackend, mode: str, count: int = 0, cores: int = 1) -> JobId:
    name = uuid.uuid4().hex
    parameters: dict[str, Scalar] = {"mode": mode, "count": count}
    return backend.submit(JobSpec("bench_job", name, parameters=parameters, resources=Resources(cores, 50)), name)


def _supervisor(backend: LocalBackend, job: JobId) -> ProcessKey:
    key = JobFolder(backend.jobs / job).state().supervisor
    assert key is not None
    return key


def _private_mb(pid: int) -> float:
    """Memory that would be free without this process: what it shares with others of its kind does not count."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def _stamps(text: str) -> list[float]:
    """The times that a log's lines say."""
    return [float(line) for line in text.splitlines() if line.replace(".", "", 1).isdecimal()]


def _until(holds: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "the bench's jobs did not start"
        time.sleep(0.02)


@contextmanager
def _home(cores: int) -> Iterator[None]:
    """A WOVR_HOME for the bench alone, of a machine with so many cores: its jobs compute nothing."""
    with tempfile.TemporaryDirectory(prefix="wovr-bench-") as home:
        Capacity(cores=cores, memory_mb=100_000).write(Path(home) / "jobs")
        with at_home(Path(home)):
            yield


def _started_ray() -> Iterator[JobBackend]:
    """A small cluster on this machine for as long as it is measured; nothing without the extra `ray`."""
    if find_spec("ray") is None:
        return
    from workbench.jobs.ray_backend import RayBackend
    from workbench.jobs.ray_cluster import ClusterConfig, cluster_folder, start_cluster, stop_cluster

    cluster = start_cluster(cluster_folder(), ClusterConfig(cpus=2))
    try:
        yield RayBackend()
    finally:
        stop_cluster(cluster)
