"""The robot as clients see it: the guard in one process, the driver in another, commands over a local socket."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import (
    ConnectionLostError,
    Gains,
    Limits,
    NotAcknowledgedError,
    RobotError,
    RobotState,
    SentAction,
)
from wovr_core.robots.gripper import check_grip
from wovr_core.robots.safety import wire

ANSWER_TIMEOUT = 2.0
"""s for what the safety process answers by itself."""
SLOW_TIMEOUT = 60.0
"""s for what the arm answers: start, reset, recover."""
START_TIMEOUT = 60.0
"""s for the processes to come up."""


class GuardedRobot:
    """`Robot` over a safety process and an arm process, both started by `connect`. Thread-safe.

    Both are sessions of their own: neither this process's death nor Ctrl-C reaches them as a signal, so that
    they bring the arm to rest in their own way.
    """

    def __init__(self, arm: ArmServerConfig, limits: Limits | None = None, name: str = "") -> None:
        self._config, self._limits = arm, limits or Limits()
        self._name = name or ("franka" if arm.kind == "franka" else "simulated")
        self._folder: Path | None = None
        self._peer: socket.socket | None = None
        self.arm_process: subprocess.Popen[str] | None = None
        self.safety_process: subprocess.Popen[str] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._gripper = _RemoteGripper(self)

    @property
    def name(self) -> str:
        return self._name

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def gripper(self) -> _RemoteGripper:
        return self._gripper

    def connect(self) -> None:
        if self._peer is not None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="wovr-robot-"))  # mode 0700: nobody else may connect
        arm_socket, client_socket = self._folder / "arm", self._folder / "client"
        try:
            config = json.dumps(dataclasses.asdict(self._config))
            self.arm_process = _spawn("wovr_core.robots.arm_server", "--socket", str(arm_socket), "--config", config)
            self.safety_process = _spawn(
                "wovr_core.robots.safety", "--socket", str(client_socket), "--arm", str(arm_socket)
            )
            self._peer = wire.dial(client_socket)
        except BaseException:
            self._clean_up()
            raise
        threading.Thread(target=self._listen, args=(self._peer,), name="robot-answers", daemon=True).start()
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while True:  # the first state comes a moment later
            try:
                self.get_state()
                return
            except ConnectionLostError:
                if time.monotonic() > deadline:
                    self.disconnect()
                    raise
                time.sleep(0.02)

    def disconnect(self) -> None:
        if self._peer is None:
            return
        try:
            self._ask("shutdown")
        except RobotError:
            pass  # it is gone already, and the arm with it
        finally:
            self._clean_up()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def get_state(self) -> RobotState:
        return wire.unpack_state(self._ask("state")["state"])

    def start(self, gains: Gains | None = None, limits: Limits | None = None) -> None:
        limits = limits or self._limits
        packed = {"gains": dataclasses.asdict(gains or Gains()), "limits": dataclasses.asdict(limits)}
        self._ask("start", timeout=SLOW_TIMEOUT, **packed)
        self._limits = limits

    def stop(self) -> None:
        self._ask("stop")

    def hold(self) -> None:
        self._ask("hold")

    def recover(self, operator_ack: bool = False) -> None:
        if operator_ack is not True:
            raise NotAcknowledgedError("a reflex is cleared only after a person looked: recover(operator_ack=True)")
        self._ask("recover", timeout=SLOW_TIMEOUT, operator_ack=True)

    def dead_man(self, pressed: bool) -> None:
        self._ask("dead_man", pressed=bool(pressed))

    def reset(self, q: Sequence[float] | None = None, pose: Sequence[float] | None = None) -> None:
        goal = {"q": _listed(q), "pose": _listed(pose), "limits": dataclasses.asdict(self._limits)}
        self._ask("reset", timeout=SLOW_TIMEOUT, **goal)

    def send_delta(self, dpos: Sequence[float], drotvec: Sequence[float], seq: int, t_sent: float) -> SentAction:
        answer = self._ask("delta", dpos=_listed(dpos), drotvec=_listed(drotvec), seq=int(seq), t_sent=float(t_sent))
        return wire.unpack_sent(answer["sent"])

    # Inside

    def _post(self, kind: str, **arguments: Any) -> Future[dict[str, Any]]:
        peer = self._peer
        if peer is None:
            raise ConnectionLostError("the robot is not connected: connect() first")
        number, future = next(self._numbers), Future[dict[str, Any]]()
        self._waiting[number] = future
        with self._lock:
            sent = wire.send(peer, {"kind": kind, "id": number, **arguments})
        if not sent:
            self._waiting.pop(number, None)  # the listener may have answered for it already
            raise ConnectionLostError("the safety process is gone or hangs; the arm process stops the arm by itself")
        return future

    def _ask(self, kind: str, timeout: float = ANSWER_TIMEOUT, **arguments: Any) -> dict[str, Any]:
        try:
            return self._post(kind, **arguments).result(timeout)
        except FutureTimeout as error:
            raise ConnectionLostError(f"the safety process did not answer {kind!r} within {timeout:g} s") from error

    def _listen(self, peer: socket.socket) -> None:
        lost: RobotError = ConnectionLostError("the safety process is gone; the arm process stops the arm by itself")
        while True:
            try:
                message = wire.receive(peer)
            except ConnectionLostError:
                break
            future = self._waiting.pop(int(message.get("id") or 0), None)
            if future is None:
                if "error" in message and not message.get("id"):
                    lost = wire.unpack_error(message["error"])
                continue
            if "error" in message:
                future.set_exception(wire.unpack_error(message["error"]))
            else:
                future.set_result(message)
        while self._waiting:
            self._waiting.popitem()[1].set_exception(lost)

    def _clean_up(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.close()
        for process in (self.safety_process, self.arm_process):  # in this order: the arm ends when its guard does
            if process is None:
                continue
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)
        self.arm_process = self.safety_process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class _RemoteGripper:
    """`GripperProtocol` over the socket."""

    def __init__(self, robot: GuardedRobot) -> None:
        self._robot = robot

    def move(self, width: float, speed: float = 0.05) -> Future[bool]:
        check_grip(width, speed)
        return self._future("move_gripper", [width, speed])

    def grasp(
        self, width: float, speed: float = 0.05, force: float = 20.0, eps_in: float = 0.02, eps_out: float = 0.08
    ) -> Future[bool]:
        check_grip(width, speed, force)
        return self._future("grasp", [width, speed, force, eps_in, eps_out])

    def _future(self, kind: str, arguments: list[float]) -> Future[bool]:
        answer: Future[bool] = Future()

        def finish(done: Future[dict[str, Any]]) -> None:
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(bool(done.result().get("value")))

        self._robot._post(kind, args=[float(value) for value in arguments]).add_done_callback(finish)
        return answer


def _listed(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _spawn(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of our processes and wait for "ready". Raises what it reports."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT)
    line = process.stdout.readline() if ready else ""
    if line.strip() == "ready":
        return process
    process.kill()
    process.wait(timeout=5)
    if line.startswith("failed "):
        raise wire.unpack_error(json.loads(line.removeprefix("failed ")))
    raise ConnectionLostError(f"{module} did not come up ({line.strip() or 'no word from it'}); see its messages above")


def franka_robot(hostname: str, limits: Limits | None = None, realtime: bool = True) -> GuardedRobot:
    """A Franka arm behind the safety process: what a lab uses. `realtime=False` is for simulators."""
    return GuardedRobot(ArmServerConfig(kind="franka", hostname=hostname, realtime=realtime), limits)
