"""Whose turn it is: within the machine, by priority and age, without starving anyone."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.jobs.queue import Capacity, Claim, admit
from wovr_core.errors import CorruptFileError, WovrError

MACHINE = Capacity(cores=4, memory_mb=8000, gpus=1, custom={"arm": 1})


def claim(name: str, cores: int = 1, memory_mb: int = 100, gpus: int = 0, custom: dict | None = None, **more) -> Claim:
    resources = {"cores": cores, "memory_mb": memory_mb, "gpus": gpus, "custom": custom or {}}
    return Claim(name, more.pop("run", name), resources, **more)


def test_those_that_fit_start_in_order():
    waiting = [claim("c", 2, queued_at=3), claim("a", 2, queued_at=1), claim("b", 2, queued_at=2)]
    assert admit(waiting, [], MACHINE, 10) == {"a": "", "b": "", "c": "waits for 2 cores (0 free)"}


def test_priority_goes_before_age():
    waiting = [claim("old", 4, queued_at=1), claim("urgent", 4, queued_at=2, priority=5)]
    assert admit(waiting, [], MACHINE, 10) == {"urgent": "", "old": "waits for 4 cores (0 free)"}


def test_small_jobs_do_not_starve_a_large_one():
    waiting = [claim("large", 4, queued_at=1), claim("small", 1, queued_at=2)]
    verdicts = admit(waiting, [claim("running", 1)], MACHINE, 10)
    assert verdicts == {"large": "waits for 4 cores (3 free)", "small": "behind job large"}


def test_memory_and_gpus_count():
    running = [claim("r", memory_mb=7000, gpus=1)]
    assert "1100 MB of memory (1000 free)" in admit([claim("m", memory_mb=1100)], running, MACHINE, 0)["m"]
    assert "1 GPU (0 free)" in admit([claim("g", gpus=1)], running, MACHINE, 0)["g"]


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (claim("w", run="busy"), "works in the same run busy"),
        (claim("w", custom={"arm": 1}), "waits for arm"),
        (claim("w", not_before=15.0), "its next attempt begins in 5 s"),
        (claim("w", run_taken=True), "another wovr works in the run w"),
    ],
)
def test_what_waits_for_something_of_its_own_holds_up_nobody(waiting, reason):
    running = [claim("r", run="busy", custom={"arm": 1})]
    verdicts = admit([replace(waiting, priority=9), claim("next")], running, MACHINE, 10.0)
    assert reason in verdicts["w"]
    assert verdicts["next"] == ""


def test_two_jobs_of_one_run_start_one_after_the_other():
    waiting = [claim("a", run="r", queued_at=1), claim("b", run="r", queued_at=2)]
    assert admit(waiting, [], MACHINE, 10) == {"a": "", "b": "job a works in the same run r"}


claims = st.builds(
    claim,
    name=st.uuids().map(str),
    cores=st.integers(1, 4),
    memory_mb=st.integers(1, 8000),
    gpus=st.integers(0, 1),
    custom=st.sampled_from([{}, {"arm": 1}]),
    run=st.sampled_from("abcdef"),
    priority=st.integers(-2, 2),
    queued_at=st.floats(0, 10),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(claims, max_size=8))
def test_the_machine_is_never_overbooked_and_never_idle_in_vain(waiting):
    verdicts = admit(waiting, [], MACHINE, 20.0)
    started = [c for c in waiting if verdicts[c.id] == ""]
    for name in ("cores", "memory_mb", "gpus"):
        assert sum(c.resources[name] for c in started) <= getattr(MACHINE, name)
    assert sum(c.resources["custom"].get("arm", 0) for c in started) <= 1
    assert len({c.run for c in started}) == len(started)
    if waiting:
        first = min(waiting, key=lambda c: (-c.priority, c.queued_at, c.id))
        assert verdicts[first.id] == ""
    # Whoever may start now, still may when those that may not are gone.
    assert all(reason == "" for reason in admit(started, [], MACHINE, 20.0).values())


def test_what_never_fits_is_refused_with_what_there_is():
    resources = {"cores": 1, "memory_mb": 1, "gpus": 0, "custom": {}}
    MACHINE.refuse(resources)
    for change, message in (
        ({"cores": 5}, "cores = 5, this machine has 4"),
        ({"memory_mb": 9000}, "memory_mb = 9000, this machine has 8000"),
        ({"gpus": 2}, "gpus = 2, this machine has 1"),
        ({"custom": {"arm": 2}}, "arm = 2.*it has: arm = 1"),
    ):
        with pytest.raises(WovrError, match=message):
            MACHINE.refuse({**resources, **change})


def test_the_machine_is_measured_unless_it_is_described(tmp_path):
    import os

    import psutil

    found = Capacity.read(tmp_path)
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory_mb == pytest.approx(0.9 * psutil.virtual_memory().total / 1e6, rel=0.01)
    MACHINE.write(tmp_path)
    assert Capacity.read(tmp_path) == MACHINE
    (tmp_path / "machine.json").write_text('{"kores": 1}')
    with pytest.raises(CorruptFileError, match=r"machine\.json"):
        Capacity.read(tmp_path)
