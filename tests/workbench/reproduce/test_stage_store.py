"""Processes side by side: who needs a stage that another is making waits for it, and can be stopped meanwhile."""

import fcntl
import os
import signal
import threading
import time
from dataclasses import dataclass

import pytest

from workbench.reproduce import stage_store
from workbench.reproduce.stage_store import OutOfTime, StageStore
from wovr_core import recipes
from wovr_core.errors import Interrupted
from wovr_core.interrupts import polite_interrupts
from wovr_core.run_folder import Run
from wovr_core.stages.folder import StageFolder


@dataclass(frozen=True)
class Nothing:
    value: int = 0


def stage(config, inputs, out_dir, on_metrics):
    return StageFolder(out_dir, "nothing", config, {}, on_metrics).finish(Nothing(7))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_store, "POLL_SECONDS", 0.01)
    with Run(tmp_path / "run", recipes.get("smoke"), shared=True) as run:
        yield run


@pytest.fixture
def held(run):
    """The lock of the only stage there is, as another process would hold it."""
    assert StageStore(run).stage("nothing", stage, Nothing(), Nothing()) == Nothing(7)
    (lock,) = (run.path / ".locks").iterdir()
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


def test_the_stage_is_taken_over_once_the_other_is_done(run, held):
    release = threading.Timer(0.2, fcntl.flock, (held, fcntl.LOCK_UN))
    release.start()
    began = time.monotonic()
    assert StageStore(run).stage("nothing", stage, Nothing(), Nothing()) == Nothing(7)
    assert time.monotonic() - began > 0.15
    release.join()


def test_one_interrupt_ends_the_wait(run, held):
    with polite_interrupts():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(Interrupted, match="stopped waiting for nothing-"):
            StageStore(run).stage("nothing", stage, Nothing(), Nothing())


def test_the_deadline_ends_the_wait(run, held):
    with pytest.raises(OutOfTime, match="another process is making nothing-"):
        StageStore(run, deadline=time.monotonic() + 0.05).stage("nothing", stage, Nothing(), Nothing())
