"""Break one thing while the arm sways: it holds or stops, and what was measured says so.

The bounds are wide, for busy machines; `wovr bench robot` prints the times themselves.
"""

from __future__ import annotations

import math
import signal
import subprocess

import numpy as np
import pytest

from wovr_core.errors import UnknownNameError
from wovr_core.robots import simulated
from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import RobotError
from wovr_core.robots.drills import FAULTS, NEEDS_REFLEXES, Drill, measure, run_drill
from wovr_core.robots.simulated import FRANKY_SIM_LIMITS, franka_sim_python

pytestmark = [pytest.mark.robot, pytest.mark.fault]
SOON = 2.0
FRANKA_SIM = franka_sim_python()  # before the tests' own WOVR_HOME
needs_franka_sim = pytest.mark.skipif(
    FRANKA_SIM is None, reason="franka-sim's environment is missing: run tools/franka_sim_env.sh"
)
EXPECTED = {
    "client stopped 0.2 s": ("running", "holding", "stopped"),  # it goes on, where the machine lets it
    "client stopped 3 s": ("stopped",),
    "client killed": ("stopped",),
    "safety process killed": ("stopped",),
    "safety process hangs": ("stopped",),
    "operator absent": ("stopped",),
    "camera unplugged": ("holding",),
    "disk full": ("holding",),
    "driver asleep 0.3 s": ("stopped",),
    "reflex": ("stopped",),
    "network cut": ("stopped", "holding"),  # the driver's last state is the one from before it stopped answering
}


def check(result):
    assert result.time_to_hold < SOON
    assert result.peak_speed < FRANKY_SIM_LIMITS.max_speed
    assert result.travel < 0.03  # the error clip, and a little
    assert result.final_motion in EXPECTED[result.fault], result


@pytest.mark.parametrize("fault", ["client killed", "safety process killed", "safety process hangs"])
def test_the_arm_comes_to_rest(fault):
    result = run_drill(fault, "kinematic", moving=0.8, after=2.0)
    check(result)
    assert result.time_to_rest < SOON
    if fault == "safety process hangs":
        assert not math.isnan(result.time_to_hold)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["client stopped 0.2 s", "client stopped 3 s", "operator absent", "camera unplugged", "disk full"]
)
def test_the_arm_holds(fault):
    result = run_drill(fault, "kinematic", moving=0.8, after=2.0)
    check(result)
    if fault == "camera unplugged":
        assert "CameraError" in result.client_said
    if fault == "disk full":
        assert "OSError" in result.client_said


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["client stopped 0.2 s", "client killed", "safety process killed", "operator absent"])
def test_the_real_driver_brings_the_simulated_arm_to_rest(fault):
    pytest.importorskip("franky")
    check(run_drill(fault, "franky-sim"))


@needs_franka_sim
@pytest.mark.slow
@pytest.mark.parametrize("fault", NEEDS_REFLEXES)
def test_what_the_arm_itself_catches(fault, monkeypatch):
    pytest.importorskip("franky")
    monkeypatch.setattr(simulated, "franka_sim_python", lambda: FRANKA_SIM)
    result = run_drill(fault, "franka-sim", after=4.0)
    check(result)
    if fault == "network cut":
        assert result.drift < 0.05  # its own controller stopped it
    if fault == "reflex":
        assert "ReflexError" in result.client_said
    assert {"ReflexError", "SafetyStopError", "ConnectionLostError"} & set(result.client_said)


def test_the_measurement_reads_the_recorder():
    times = np.arange(0, 3, 0.01)
    speed = np.where(times < 1.2, 0.1, 0.0)  # the fault at 1.0, refused from 1.1, at rest from 1.2
    motions = ["running" if t < 1.1 - 1e-9 else "holding" for t in times]
    x = np.minimum(times, 1.2) * 0.1
    values = np.stack([x, times * 0, times * 0, speed], axis=1)
    result = measure("client killed", "none", 1.0, times, motions, values, ())
    assert result.time_to_hold == pytest.approx(0.1, abs=0.011)
    assert result.time_to_rest == pytest.approx(0.2, abs=0.011)
    assert result.travel == pytest.approx(0.01, abs=0.0011)
    assert result.peak_speed == pytest.approx(0.1)
    never = measure("client killed", "none", 1.0, times, ["running"] * len(times), values, ())
    assert math.isnan(never.time_to_hold)
    with pytest.raises(RobotError, match="did not move"):
        measure("client killed", "none", 1.0, times, motions, values * 0, ())


def test_a_client_that_does_not_come_up_is_ended(tmp_path, monkeypatch):
    started = []
    real = subprocess.Popen

    def silent(command, **streams):
        started.append(real(["sleep", "60"], **streams))
        return started[0]

    def give_up(self, event, timeout):
        raise RobotError(f"no {event}")

    monkeypatch.setattr(subprocess, "Popen", silent)
    monkeypatch.setattr(Drill, "wait", give_up)
    with pytest.raises(RobotError, match="no up"):
        Drill(ArmServerConfig(kind="kinematic"), FRANKY_SIM_LIMITS, tmp_path)
    assert started[0].returncode == -signal.SIGKILL


def test_every_fault_has_an_expectation():
    assert set(EXPECTED) == set(FAULTS)
    with pytest.raises(UnknownNameError, match="did you mean 'client killed'"):
        run_drill("client kiled")
