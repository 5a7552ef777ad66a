"""Fault drills: break one thing while the arm sways, and measure from the flight recorder how it came to rest.

What the recorder sees is written by the arm's process, so it goes on while the client is stopped or dead.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.errors import UnknownNameError
from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import Limits, Motion, RobotError, Vector
from wovr_core.robots.link_proxy import LinkProxy
from wovr_core.robots.simulated import FRANKY_SIM_LIMITS, FrankaSim, FrankySim

AT_REST = 0.01
"""m/s"""
DRIVER_ASLEEP = 0.3
"""s that the driver's process is stopped for: until then nobody of ours can know what the arm did."""
LINK_GONE = 0.05
"""s without network: more than the 0.02 after which the arm's controller ends the motion. All of ours is awake."""
REST_ROWS = 5
"""States in a row under AT_REST that count as rest."""


@dataclass(frozen=True)
class DrillResult:
    fault: str
    simulator: str
    time_to_hold: float
    """s from the fault to the moment when the arm was no longer allowed to follow commands; NaN: never."""
    time_to_rest: float
    """s from the fault until the tool was slower than 1 cm/s and stayed so; NaN: never, or not to be seen."""
    travel: float
    """m at most that the tool went on from where it was when the hold began; NaN: it never held."""
    peak_speed: float
    """m/s, over the whole drill."""
    final_motion: str
    """What the arm's process recorded last: "holding", "stopped", "running" (it went on)."""
    client_said: tuple[str, ...]
    """Events and errors of the client after the fault, in order."""
    drift: float = float("nan")
    """m that the arm went on after its link was cut, where nothing of ours could see it; NaN for other faults."""


class SpoiledDrillError(RobotError):
    """The arm was not moving when the fault came: a busy machine had stopped it before."""


class Drill:
    """One client over one arm, and the recorder's file. Context manager: ends what it started."""

    def __init__(self, arm: ArmServerConfig, limits: Limits, folder: Path) -> None:
        self._record = folder / "recorder.txt"
        self._errors = (folder / "client.err").open("w")
        config = dataclasses.asdict(dataclasses.replace(arm, record=str(self._record)))
        command = [sys.executable, "-m", "wovr_core.robots.drill_client", "--arm", json.dumps(config)]
        self.client = subprocess.Popen(
            [*command, "--limits", json.dumps(dataclasses.asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.mend: Callable[[], None] = lambda: None
        """Gives a link that was cut back."""
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            up = self.wait("up", 90)
        except BaseException:  # nobody will leave a context that was never entered; its processes end by themselves
            self.client.kill()
            self.client.wait(timeout=5)
            self._errors.close()
            raise
        self.arm_pid, self.safety_pid = int(up["arm"]), int(up["safety"])

    def __enter__(self) -> Drill:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (self.client.pid, self.safety_pid, self.arm_pid):
            signal_quietly(pid, signal.SIGCONT)
        if self.client.poll() is None:
            self.tell("quit")
            try:
                self.client.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.client.kill()
                self.client.wait(timeout=5)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (alive(self.safety_pid) or alive(self.arm_pid)):
            time.sleep(0.05)  # an orphaned pair ends by itself
        for pid in (self.safety_pid, self.arm_pid):
            signal_quietly(pid, signal.SIGKILL)
        self._errors.close()

    def tell(self, word: str) -> None:
        assert self.client.stdin is not None
        try:
            self.client.stdin.write(word + "\n")
            self.client.stdin.flush()
        except OSError:
            pass  # it is gone; what it said tells

    def wait(self, event: str, timeout: float) -> dict[str, Any]:
        """The next event of this kind. Raises RobotError if the client ends or is silent."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._events.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise RobotError(f"the drill's client did not say {event!r} within {timeout:g} s") from None
            self.heard.append(message)
            if message["event"] == event:
                return message
            if message["event"] in ("error", "end"):
                raise SpoiledDrillError(f"the drill's client ended: {message.get('message', 'see its messages')}")

    def rows(self) -> tuple[Vector, list[str], Vector]:
        """Recorded times (N,), motions, and x y z speed (N, 4)."""
        lines = [line.split() for line in self._record.read_text().splitlines() if line.count(" ") == 5]
        times = np.array([float(line[0]) for line in lines])
        return times, [line[1] for line in lines], np.array([[float(v) for v in line[2:]] for line in lines])

    def said(self, since: float) -> tuple[str, ...]:
        """What the client said since then."""
        while not self._events.empty():
            self.heard.append(self._events.get())
        later = [message for message in self.heard if message["t"] >= since]
        return tuple(message.get("error") or message["event"] for message in later if message["event"] != "fault")

    def _listen(self) -> None:
        assert self.client.stdout is not None
        for line in self.client.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "end", "t": time.monotonic()})


Inject = Callable[[Drill], float]
"""Breaks something; returns the moment of the fault."""


def _stop_client(seconds: float) -> Inject:
    def inject(drill: Drill) -> float:
        now = time.monotonic()
        os.kill(drill.client.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(drill.client.pid, signal.SIGCONT)
        return now

    return inject


def _signal(target: str, number: signal.Signals) -> Inject:
    def inject(drill: Drill) -> float:
        pid = {"client": drill.client.pid, "safety": drill.safety_pid, "arm": drill.arm_pid}[target]
        now = time.monotonic()
        os.kill(pid, number)
        return now

    return inject


def _freeze_arm(drill: Drill) -> float:
    """The driver's process misses a stretch of the 1 kHz exchange: the arm's own controller must catch it."""
    now = time.monotonic()
    os.kill(drill.arm_pid, signal.SIGSTOP)
    time.sleep(DRIVER_ASLEEP)
    os.kill(drill.arm_pid, signal.SIGCONT)
    return now


def _interrupt_link(drill: Drill) -> float:
    """The link has been cut: mend it, as a switch or a busy kernel does after a moment."""
    now = time.monotonic()
    time.sleep(LINK_GONE)
    drill.mend()
    return now


def _tell(word: str) -> Inject:
    def inject(drill: Drill) -> float:
        drill.tell(word)
        return float(drill.wait("fault", 20)["t"])

    return inject


FAULTS: dict[str, Inject] = {
    "client stopped 0.2 s": _stop_client(0.2),
    "client stopped 3 s": _stop_client(3.0),
    "client killed": _signal("client", signal.SIGKILL),
    "safety process killed": _signal("safety", signal.SIGKILL),
    "safety process hangs": _signal("safety", signal.SIGSTOP),
    "operator absent": _tell("release"),
    "camera unplugged": _tell("unplug"),
    "disk full": _tell("fill_disk"),
    "driver asleep 0.3 s": _freeze_arm,
    "reflex": _interrupt_link,
    "network cut": lambda drill: time.monotonic(),
}
"""What breaks -> how."""
NEEDS_REFLEXES = ("driver asleep 0.3 s", "reflex", "network cut")
"""Faults that the arm's own controller catches: they need the simulator that has one."""
OVER_A_LINK = ("reflex", "network cut")
"""Faults of the network: the driver reaches the arm through a `LinkProxy`."""


def run_drill(
    fault: str,
    simulator: str = "franky-sim",
    limits: Limits | None = None,
    moving: float = 1.5,
    after: float = 2.5,
    attempts: int = 3,
) -> DrillResult:
    """Sway for `moving` s, break, look for `after` s. Simulators: "kinematic", "franky-sim", "franka-sim".

    Simulated arms stop for a busy machine as real ones do; a drill so spoiled is tried `attempts` times.
    Raises UnknownNameError, MissingDependencyError, RobotError (the drill itself went wrong).
    """
    if fault not in FAULTS:
        raise UnknownNameError("fault", fault, FAULTS)
    for attempt in range(attempts):
        try:
            return _run_once(fault, simulator, limits or FRANKY_SIM_LIMITS, moving, after)
        except SpoiledDrillError:
            if attempt == attempts - 1:
                raise
    raise AssertionError("attempts is at least 1")


def _run_once(fault: str, simulator: str, limits: Limits, moving: float, after: float) -> DrillResult:
    with ExitStack() as outer:
        folder = Path(outer.enter_context(tempfile.TemporaryDirectory(prefix="wovr-drill-")))
        arm, server = ArmServerConfig(kind="kinematic"), None
        if simulator != "kinematic":
            server = outer.enter_context({"franky-sim": FrankySim, "franka-sim": FrankaSim}[simulator]())
            arm = ArmServerConfig(hostname=server.hostname, realtime=False, gripper=False)
        with ExitStack() as stack:
            proxy = None
            if fault in OVER_A_LINK and server is not None:
                proxy = stack.enter_context(LinkProxy(server.hostname))
                arm = dataclasses.replace(arm, hostname=proxy.hostname)
            drill = stack.enter_context(Drill(arm, limits, folder))
            drill.wait("moving", 60)
            time.sleep(moving)
            if drill.client.poll() is not None:
                raise SpoiledDrillError("the client ended before the fault")
            if proxy is not None:
                drill.mend = proxy.mend
                proxy.cut()
            at = FAULTS[fault](drill)
            time.sleep(after)
            times, motions, values = drill.rows()
            result = measure(fault, simulator, at, times, motions, values, drill.said(at))
        if fault == "network cut" and server is not None:
            drift = _drift_without_us(server.hostname, values[times < at][-1][:3])
            result = dataclasses.replace(result, drift=drift)
        return result


def _drift_without_us(hostname: str, last_seen: Vector) -> float:
    """m between where the arm was last seen and where it stands, looked up over a link that works."""
    from wovr_core.robots.franka import FrankaArm, FrankaConfig

    arm = FrankaArm(FrankaConfig(hostname, realtime=False, gripper=False))
    arm.connect()
    try:
        first = arm.read().position
        time.sleep(0.5)
        second = arm.read().position
    finally:
        arm.disconnect()
    if float(np.linalg.norm(second - first)) > AT_REST * 0.5:
        raise RobotError("the arm still moves after its link was cut")
    return float(np.linalg.norm(second - last_seen))


def measure(
    fault: str, simulator: str, at: float, times: Vector, motions: list[str], values: Vector, said: tuple[str, ...]
) -> DrillResult:
    """Read the recorder's rows: times (N,), motions, x y z speed (N, 4)."""
    speed = values[:, 3]
    followed = np.array([motion == Motion.RUNNING.value for motion in motions])
    before = times < at
    if not before.any() or speed[before].max() < AT_REST or not followed[before][-1] or at - times[before][-1] > 0.5:
        raise SpoiledDrillError("the arm did not move before the fault: the drill shows nothing")
    ended = np.flatnonzero(~before & ~followed)
    to_hold = float(times[ended[0]] - at) if len(ended) else float("nan")
    to_rest = float("nan")
    for index in ended:
        window = slice(index, index + REST_ROWS)
        if len(speed[window]) == REST_ROWS and (speed[window] < AT_REST).all() and not followed[window].any():
            to_rest = float(times[index] - at)
            break
    travel = float("nan")
    if len(ended):
        resumed = np.flatnonzero(followed[ended[0] :])
        held = values[ended[0] : ended[0] + resumed[0] if len(resumed) else None, :3]
        travel = float(np.linalg.norm(held - held[0], axis=1).max())
    return DrillResult(fault, simulator, to_hold, to_rest, travel, float(speed.max()), motions[-1], said)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def signal_quietly(pid: int, number: signal.Signals) -> None:
    """To a process of ours that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
