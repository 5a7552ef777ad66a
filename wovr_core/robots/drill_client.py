"""The client of a fault drill, as a process that can be stopped, killed, or told to fail: sways the arm.

Reads words from standard input ("release", "unplug", "fill_disk", "quit") and prints one JSON object an event:
{"event": "moving" | "fault" | "held" | "error" | "resumed", "t": monotonic seconds, ...}.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

import numpy as np

from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import CameraError, Limits, Motion, RobotError
from wovr_core.robots.camera_sources import SimulatedCamera
from wovr_core.robots.cameras import CameraConfig
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.safety.wire import unpack_limits

SWAY = 20
"""Commands in one direction."""


def say(event: str, **details: Any) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **details}), flush=True)


def sway(robot: GuardedRobot, limits: Limits, step: float, words: list[str], camera: SimulatedCamera) -> None:
    """Until told to quit. Each fault is met as a policy runner meets it: hold, and say so."""
    log = open("/dev/null", "w", buffering=1)  # noqa: SIM115 - swapped for a full disk below
    pressed, held, was_running = True, False, False
    seq = 0
    while True:
        began = time.monotonic()
        while words:
            word = words.pop(0)
            if word == "quit":
                return
            say("fault", fault=word)
            if word == "release":
                pressed = False
                robot.dead_man(False)
            elif word == "unplug":
                camera.unplug()
            elif word == "fill_disk":
                log = open("/dev/full", "w", buffering=1)  # noqa: SIM115
        if pressed:
            robot.dead_man(True)
        if not held:
            try:
                camera.read()
                direction = 1.0 if (seq + SWAY // 2) // SWAY % 2 == 0 else -1.0
                sent = robot.send_delta((0, direction * step, 0), (0, 0, 0), seq, time.monotonic())
                log.write(f"{seq}\n")
                running = sent.motion is Motion.RUNNING
                if running and not was_running:
                    say("moving" if seq == 0 else "resumed")
                was_running = running
            except (CameraError, OSError) as error:
                robot.hold()
                held = True
                say("held", error=type(error).__name__)
            seq += 1
        else:
            robot.get_state()
        time.sleep(max(0.0, limits.period - (time.monotonic() - began)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="wovr_core.robots.drill_client")
    parser.add_argument("--arm", type=json.loads, required=True)
    parser.add_argument("--limits", type=json.loads, required=True)
    parser.add_argument("--step", type=float, default=0.008)
    arguments = parser.parse_args()
    limits = unpack_limits(arguments.limits)
    words: list[str] = []

    def listen() -> None:
        for line in sys.stdin:
            words.append(line.strip())
        words.append("quit")

    threading.Thread(target=listen, daemon=True).start()
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    camera = SimulatedCamera(lambda: picture, CameraConfig(fps=limits.rate))
    with GuardedRobot(ArmServerConfig(**arguments.arm), limits) as robot, camera:
        assert robot.arm_process is not None
        assert robot.safety_process is not None
        say("up", arm=robot.arm_process.pid, safety=robot.safety_process.pid)
        robot.start(limits=limits)
        try:
            sway(robot, limits, arguments.step, words, camera)
        except RobotError as error:
            say("error", error=type(error).__name__, message=str(error))


if __name__ == "__main__":
    main()
