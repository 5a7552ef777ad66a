"""The pool of environment processes: same results for any number of workers, and no ill end leaves a trace."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.pool import EnvPool, JobError, JobFailure
from wovr_core.envs.shared_results import Parcel, discard, pack, unpack
from wovr_core.errors import WovrError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def pool() -> Iterator[EnvPool]:
    with EnvPool(2) as pool:
        yield pool


def blocks() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("wovr-")}


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return same(vars(a), vars(b))
    return a == b


@pytest.mark.parametrize("workers", [0, 1])
def test_results_do_not_depend_on_the_number_of_workers(pool: EnvPool, workers: int) -> None:
    import pool_jobs

    jobs = list(range(12))
    with EnvPool(workers) as other:
        expected = list(other.map(pool_jobs.make_thing, jobs))
    for keyed in (None, lambda job: job % 2):
        found = list(pool.map(pool_jobs.make_thing, jobs, key=keyed))
        assert [thing.name for thing in found] == [f"thing {i}" for i in jobs]
        assert same(tuple(expected), tuple(found))
    assert not blocks()


def test_arrays_come_back_writable_and_owned(pool: EnvPool) -> None:
    import pool_jobs

    (thing,) = pool.map(pool_jobs.make_thing, [5])
    thing.large[:] = 7
    assert (thing.large == 7).all()


def test_jobs_are_drawn_little_by_little(pool: EnvPool) -> None:
    import pool_jobs

    drawn = itertools.count()
    results = pool.map(pool_jobs.double, (next(drawn) for _ in itertools.count()))
    assert list(itertools.islice(results, 50)) == [2 * i for i in range(50)]
    results.close()  # type: ignore[attr-defined]
    assert next(drawn) < 50 + 100


def test_workers_have_one_thread_each_and_the_parent_keeps_its_own(
    pool: EnvPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pool_jobs

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with EnvPool(1) as fresh:
        ((pid, threads),) = fresh.map(pool_jobs.environment, [0])
    assert threads == "1"
    assert pid != os.getpid()
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_job_that_raises_is_named_and_the_pool_lives_on(workers: int) -> None:
    import pool_jobs

    with EnvPool(workers) as pool:
        results = pool.map(pool_jobs.fail_on_three, range(8))
        with pytest.raises(JobFailure, match=r"job 3 \(3\): ValueError: three is too many") as caught:
            list(results)
        assert "in fail_on_three" in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)
        assert list(pool.map(pool_jobs.double, [1, 2])) == [2, 4]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_error_stays_one(workers: int) -> None:
    import pool_jobs

    with EnvPool(workers) as pool, pytest.raises(JobError, match=r"job 0 \('x'\): the cable is loose") as e:
        list(pool.map(pool_jobs.complain, ["x"]))
    assert isinstance(e.value, WovrError)
    assert "\n" not in str(e.value)


@pytest.mark.fault
def test_a_worker_that_is_killed_is_reported_and_replaced(pool: EnvPool) -> None:
    import pool_jobs

    with pytest.raises(JobError, match=r"job 2 \(2\): its worker process died \(signal SIGKILL\)"):
        list(pool.map(pool_jobs.die_on_two, range(6)))
    assert not blocks()
    assert [int(a[0]) for a in pool.map(pool_jobs.die_on_two, [0, 1, 3, 4])] == [0, 1, 3, 4]


def test_a_worker_that_died_idle_is_replaced(pool: EnvPool) -> None:
    import pool_jobs

    ((pid, _),) = pool.map(pool_jobs.environment, [0])
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    pids = {p for p, _ in pool.map(pool_jobs.environment, range(8))}
    assert pid not in pids


def test_what_cannot_travel_is_told_at_once(pool: EnvPool) -> None:
    with pytest.raises(TypeError, match="module level"):
        list(pool.map(lambda envs, job: job, [1]))


def test_stopping_early_stops_the_jobs() -> None:
    import pool_jobs

    with EnvPool(2) as pool:
        assert list(pool.map(pool_jobs.double, range(4))) == [0, 2, 4, 6]  # both are up
        begin = time.monotonic()
        results = pool.map(pool_jobs.nap, [0.0, 60.0, 60.0])
        assert next(results) == 0.0
        results.close()  # type: ignore[attr-defined]
        assert list(pool.map(pool_jobs.double, [4])) == [8]
    assert time.monotonic() - begin < 20


def test_a_closed_or_busy_pool_says_so() -> None:
    import pool_jobs

    pool = EnvPool(0)
    results = pool.map(pool_jobs.double, range(3))
    next(results)
    with pytest.raises(WovrError, match="another map"):
        list(pool.map(pool_jobs.double, [1]))
    assert list(results) == [2, 4]
    pool.close()
    pool.close()
    with pytest.raises(WovrError, match="closed"):
        list(pool.map(pool_jobs.double, [1]))
    with pytest.raises(WovrError, match="negative"):
        EnvPool(-1)


def run_script(body: str) -> subprocess.Popen[str]:
    """A parent of its own, in a process group of its own, that runs `body` after the imports."""
    script = (
        f"import signal, sys; sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]\n"
        # A shell starts what it puts into the background deaf to Ctrl-C, and that is inherited down to here.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import pool_jobs\nfrom wovr_core.envs.pool import EnvPool\n"
        f"if __name__ == '__main__':\n    {body}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: object, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.fault
@pytest.mark.parametrize("blow", ["interrupt", "kill"])
def test_no_worker_outlives_its_parent(tmp_path: Path, blow: str) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    before = blocks()
    parent = run_script(
        f"with EnvPool(2) as pool: list(pool.map(pool_jobs.sign_and_spin, {[str(f) for f in files]!r}))"
    )
    try:
        assert wait_for(lambda: all(f.exists() and f.read_text() for f in files), 60), parent.poll()
        pids = [int(f.read_text()) for f in files]
        assert all(map(alive, pids))
        begin = time.monotonic()
        if blow == "interrupt":
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: parent and workers alike
            _, stderr = parent.communicate(timeout=90)
            assert time.monotonic() - begin < 10
            assert stderr.count("Traceback") == 1
            assert stderr.rstrip().endswith("KeyboardInterrupt")
        else:
            parent.kill()
            parent.wait()
        assert wait_for(lambda: not any(map(alive, pids)), 10)
        assert blocks() == before
    finally:
        parent.kill()
        parent.communicate()


def test_parcels_keep_small_things_out_of_shared_memory() -> None:
    small = {"a": np.arange(3), "b": "text"}
    parcel = pack(small, "wovr-test-small")
    assert parcel.block is None
    assert same(small, unpack(parcel))

    large = (np.arange(100_000, dtype=np.float64).reshape(100, -1).T, np.ones(9, dtype=np.uint8))
    parcel = pack(large, "wovr-test-large")
    assert isinstance(parcel, Parcel)
    assert len(parcel.body) < 2000
    assert "wovr-test-large" in blocks()
    assert same(large, unpack(parcel))
    assert not blocks()
    discard("wovr-test-large")  # harmless when there is none


def test_the_cache_closes_what_it_drops() -> None:
    closed: list[tuple[str, int]] = []

    class Fake:
        def __init__(self, config: str, task: int) -> None:
            self.key = (config, task)

        def close(self) -> None:
            closed.append(self.key)

    cache = EnvCache(2, build=Fake)  # type: ignore[arg-type]
    first = cache.get("c", 0)
    cache.get("c", 1)
    assert cache.get("c", 0) is first
    cache.get("c", 2)
    assert closed == [("c", 1)]
    cache.close()
    assert len(cache) == 0
    assert set(closed) == {("c", 0), ("c", 1), ("c", 2)}


@pytest.mark.slow
def test_libero_gives_the_same_with_0_1_and_2_workers() -> None:
    import pool_jobs

    jobs = [(task, seed) for seed in range(3) for task in (0, 6)]
    results = []
    for workers in (0, 1, 2):
        with EnvPool(workers) as pool:
            results.append(tuple(pool.map(pool_jobs.libero_steps, jobs, key=lambda job: job[0])))
    assert same(results[0], results[1])
    assert same(results[0], results[2])
