"""Training that is killed, or meets a full disk, goes on from its newest checkpoint to the very same end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from workbench.jobs import backend as contract
from workbench.jobs.backend import JobState
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.spec import JobSpec, Resources
from wovr_core.data.episode_files import write_episode

pytestmark = [pytest.mark.fault, pytest.mark.slow]
SERVER = Path(__file__).parent / "training_server.py"


@pytest.fixture
def episodes(tmp_path, make_episode):
    for i in range(2):
        write_episode(tmp_path / "episodes", make_episode(f"e{i}", length=24, success_at=20, size=32))
    return tmp_path / "episodes"


def test_killed_at_fifty_points_training_ends_bit_for_bit_the_same(episodes, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A kill loses nothing that was written, synced or not, so memory serves as the disk: thousands of files.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path) as runs:
        command = [sys.executable, str(SERVER), "survive", str(episodes), runs, "50"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differing"] == []
    assert found["tensors"] == ["module", "optimizer"]
    assert found["steps"] == list(range(1, 37))
    assert found["losses"] == 36  # it did learn something at each step
    assert len(found["resumed_at"]) == 50
    # They were killed all over the first steps, and each had at least 20 to go.
    assert len(set(found["resumed_at"])) >= 8
    assert max(found["resumed_at"]) <= 16
    assert sum(step > 0 for step in found["resumed_at"]) >= 35


def test_a_killed_job_goes_on_by_itself_to_the_same_end(local, home, episodes, tmp_path):
    """The same training as a job with a retry: its process is killed, its second attempt resumes."""

    def argv(spec: JobSpec) -> list[str]:
        return [sys.executable, str(SERVER), "train", str(episodes), str(home / "runs" / spec.run / "sft")]

    register_kind(JobKind("tiny_training", "trains", argv))
    small = Resources(1, 500)
    undisturbed = local.submit(JobSpec("tiny_training", "a", resources=small), "a")
    killed = local.submit(JobSpec("tiny_training", "b", resources=small, retries=1), "b")
    reached = home / "runs" / "b" / "sft.step"
    deadline = time.monotonic() + 60
    while not (reached.exists() and int(reached.read_text() or 0) >= 6) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(local.status(killed).pid, signal.SIGKILL)
    statuses = [contract.wait(local, job, 90) for job in (undisturbed, killed)]
    assert [s.state for s in statuses] == [JobState.SUCCEEDED] * 2, [local.logs(s.id).text[-2000:] for s in statuses]
    assert [s.attempt for s in statuses] == [1, 2]
    assert int((home / "runs" / "b" / "sft" / "resumed_at").read_text()) >= 5
    versions = [
        json.loads((home / "runs" / run / "sft" / "outputs.json").read_text())["outputs"]["version"] for run in "ab"
    ]
    assert versions[0] == versions[1]
    lines = local.metrics(killed).lines
    assert [line["step"] for line in lines] == list(range(1, 37))
