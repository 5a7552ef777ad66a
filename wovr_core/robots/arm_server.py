"""The arm's process: the driver, and a watchdog of its own that outlives the safety process.

Without a heartbeat from the safety process for `hold_after` seconds the arm is told to stay where it is; after
`stop_after`, or at once when the connection ends, it is stopped and this process ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import selectors
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.robots.arm import Arm
from wovr_core.robots.base import ConnectionLostError, Motion, RobotError, RobotMode, RobotState, Vector
from wovr_core.robots.safety import wire

log = logging.getLogger(__name__)

COMING_TO_REST = 4.0
"""s that this process stays to see the arm stand still after its safety process is gone."""


@dataclass(frozen=True)
class ArmServerConfig:
    """Which arm is served, and when it is stopped without being told."""

    kind: str = "franka"
    """"franka", or "kinematic" for the simulated arm."""
    hostname: str = ""
    """Of the Franka's control box."""
    realtime: bool = True
    """See `FrankaConfig`."""
    gripper: bool = True
    """Whether the Franka has a hand."""
    hold_after: float = 0.1
    """s without a heartbeat."""
    stop_after: float = 0.3
    """s without a heartbeat."""
    state_period: float = 0.01
    """s between published states."""
    record: str = ""
    """File of the flight recorder (see `FlightRecorder`); empty: none."""


def build_arm(config: ArmServerConfig) -> Arm:
    """The arm of this name; drivers are imported only here."""
    if config.kind == "franka":
        from wovr_core.robots.franka import FrankaArm, FrankaConfig

        return FrankaArm(FrankaConfig(config.hostname, realtime=config.realtime, gripper=config.gripper))
    if config.kind == "kinematic":
        from wovr_core.robots.kinematic_arm import KinematicArm

        return KinematicArm()
    raise RobotError(f"no arm of kind {config.kind!r}; known: franka, kinematic")


class FlightRecorder:
    """One line of text a state: host time, what the safety layer let the arm do, position (m), speed (m/s).

    A full disk ends the recording, never the control.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = open(path, "a", buffering=1) if path else None  # noqa: SIM115 - open for the process's life
        except OSError as error:
            raise RobotError(f"cannot record to {path}: {error.strerror}") from error

    def write(self, motion: str, state: RobotState) -> None:
        if self._file is None:
            return
        x, y, z = state.position
        try:
            self._file.write(f"{time.monotonic():.4f} {motion} {x:.5f} {y:.5f} {z:.5f} {state.speed:.5f}\n")
        except OSError as error:
            log.warning("the flight recorder ends here: %s", error)
            self._file = None


class ArmServer:
    """Serves one safety process, over a socket of `wire`, until that is gone.

    Threads: the loop of `run`; one each for blocking calls of the arm and of the gripper; one that stops the arm.
    """

    def __init__(self, arm: Arm, guard: socket.socket, config: ArmServerConfig) -> None:
        self._arm, self._guard, self._config = arm, guard, config
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="arm")
        self._gripper = ThreadPoolExecutor(1, thread_name_prefix="gripper")
        self._stopper = ThreadPoolExecutor(1, thread_name_prefix="stop")
        self._control = threading.Lock()
        """Held while control starts or ends."""
        self._controlled = self._moving = False
        self._held = False
        self._target: Vector | None = None
        self._send_lock, self._publish_lock = threading.Lock(), threading.Lock()
        self._heard = time.monotonic()
        self._motion = Motion.STOPPED.value
        self._stopped = threading.Event()
        self._speed, self._quiet = 0.0, 0
        self._recorder = FlightRecorder(config.record)

    def run(self) -> None:
        """Until the safety process is gone; the arm is stopped then."""
        self._guard.setblocking(False)
        selector = selectors.DefaultSelector()
        selector.register(self._guard, selectors.EVENT_READ)
        publish = time.monotonic()
        try:
            while True:
                for _ in selector.select(max(0.0, publish - time.monotonic())):
                    self._hear()
                self._watch(time.monotonic())
                if time.monotonic() >= publish:
                    self._publish()
                    publish = max(publish + self._config.state_period, time.monotonic())
        except ConnectionLostError as error:
            log.log(logging.WARNING if self._controlled else logging.DEBUG, "%s: stopping the arm", error)
        finally:
            self._stop()
            self._stopper.shutdown(wait=False)
            deadline = time.monotonic() + COMING_TO_REST
            while time.monotonic() < deadline and not (self._stopped.is_set() and self._rested()):
                self._publish()  # for the recorder: it shows how the arm came to rest
                time.sleep(self._config.state_period)
            self._arm.disconnect()

    def _hear(self) -> None:
        try:
            message = wire.receive(self._guard)
        except (BlockingIOError, ValueError):
            return
        self._heard = time.monotonic()
        self._held = False
        if message.get("kind") == "beat":
            self._motion = message["motion"]
            self._obey(message)
        elif message.get("kind") == "call":
            self._call(message)

    def _obey(self, message: dict[str, Any]) -> None:
        if message["motion"] == Motion.STOPPED.value:
            if self._controlled or (self._moving and not message["moving"]):
                self._stop()
        elif self._controlled:
            target = np.array(message["target"], dtype=float)
            if np.isfinite(target).all() and (self._target is None or (target != self._target).any()):
                self._target = target
                self._arm.set_target(target)

    def _call(self, message: dict[str, Any]) -> None:
        name = message["name"]
        pool = self._gripper if name in ("move_gripper", "grasp") else self._worker
        self._moving = self._moving or name in ("move_joints", "move_pose")
        pool.submit(self._perform, name, message).add_done_callback(
            lambda future: self._done(int(message["id"]), name, future)
        )

    def _perform(self, name: str, message: dict[str, Any]) -> bool:
        if name == "start":
            with self._control:
                self._target = None
                self._arm.start(wire.unpack_gains(message["gains"]), wire.unpack_limits(message["limits"]))
                self._controlled = True
        elif name == "recover":
            self._arm.recover()
        elif name in ("move_joints", "move_pose"):
            getattr(self._arm, name)(np.array(message["goal"], dtype=float))
        else:
            return bool((self._arm.grasp if name == "grasp" else self._arm.move_gripper)(*message["args"]))
        return True

    def _done(self, number: int, name: str, future: Future[bool]) -> None:
        if name in ("move_joints", "move_pose"):
            self._moving = False
        self._publish()  # whoever hears that it is done may ask for the state next
        error = future.exception()
        answer = {"error": wire.pack_error(error)} if isinstance(error, Exception) else {"value": future.result()}
        self._tell({"kind": "done", "id": number, **answer})

    def _stop(self) -> None:
        """At once, in a thread: coming to rest takes a moment, and states must flow meanwhile."""
        self._controlled = self._moving = False

        def stop() -> None:
            with self._control:
                self._arm.stop()
            self._stopped.set()

        self._stopped.clear()
        self._stopper.submit(stop)

    def _rested(self) -> bool:
        """Whether the last states showed an arm at rest."""
        self._quiet = self._quiet + 1 if self._speed < 0.01 else 0
        return self._quiet >= 10

    def _watch(self, now: float) -> None:
        if not (self._controlled or self._moving) or now - self._heard <= self._config.hold_after:
            return
        self._hear()  # if this process was the one that slept, a heartbeat waits
        silence = now - self._heard
        if silence > self._config.stop_after:
            log.warning("no heartbeat for %.2f s: stopping the arm", silence)
            self._stop()
        elif self._controlled and not self._held:
            self._held = True
            self._target = self._arm.read().tcp_pose
            self._arm.set_target(self._target)

    def _publish(self) -> None:
        with self._publish_lock:
            try:
                state = self._arm.read()
            except ConnectionLostError:
                return  # the guard sees its state grow old
            self._speed = state.speed
            if self._controlled and (state.errors or state.mode is RobotMode.REFLEX):
                self._stop()  # the arm has stopped itself: nobody need tell us, and no target is passed on any more
            motion = self._motion if self._controlled else Motion.STOPPED.value
            self._recorder.write(Motion.HOLDING.value if self._held and self._controlled else motion, state)
            self._tell({"kind": "state", "state": wire.pack_state(state), "controlled": self._controlled})

    def _tell(self, message: dict[str, Any]) -> None:
        with self._send_lock:
            wire.send(self._guard, message)


def main() -> None:
    """`python -m wovr_core.robots.arm_server --socket PATH --config JSON`: prints "ready", then serves one guard."""
    parser = argparse.ArgumentParser(prog="wovr_core.robots.arm_server")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--config", type=json.loads, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    config = ArmServerConfig(**arguments.config)
    try:
        arm = build_arm(config)
        arm.connect()
    except Exception as error:
        print("failed " + json.dumps(wire.pack_error(error)), flush=True)
        raise SystemExit(1) from error
    listener = wire.listen(arguments.socket)
    print("ready", flush=True)
    guard, _ = listener.accept()
    listener.close()
    ArmServer(arm, guard, config).run()


if __name__ == "__main__":
    main()
