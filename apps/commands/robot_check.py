"""`wovr robot check`: is this machine, this network and this arm fit for a motion?"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from wovr_core.robots.base import CameraProtocol
    from wovr_core.robots.preflight import Check


def add_verbs(verbs: Any, common: Any) -> None:
    """Add `check`."""
    check = verbs.add_parser(
        "check",
        parents=[common],
        help="driver, server version, kernel, network jitter, cameras, disk: what fits, and what to do",
        description="Reads and counts; moves nothing. --control puts the arm under power, holding still, for 2 s.",
    )
    check.add_argument("--host", help="address of the arm's control box, or of a simulator")
    check.add_argument("--simulator", action="store_true", help="it is a simulator: no real-time kernel is needed")
    check.add_argument("--control", action="store_true", help="hold still under control and count late commands")
    check.add_argument("--yes", action="store_true", help="with --control: somebody stands at the stop button")
    check.add_argument(
        "--camera", action="append", default=[], metavar="DEVICE", help="a video device's number or path; repeatable"
    )
    check.add_argument(
        "--realsense", action="append", default=[], metavar="SERIAL", help='a RealSense ("any" for the only one)'
    )
    check.add_argument("--fps", type=float, default=30.0, help="the cameras' nominal rate (default: 30)")
    check.add_argument("--json", action="store_true", help="print the checks as JSON")
    check.set_defaults(function=_check)


def _check(arguments: argparse.Namespace) -> int:
    from wovr_core.files import wovr_home
    from wovr_core.robots.preflight import Status, preflight

    if not arguments.fps > 0:
        raise WovrError(f"--fps must be positive, not {arguments.fps}")
    control = None
    if arguments.control:
        if arguments.host is None:
            raise WovrError("--control needs --host")
        _ask_operator(arguments)
        control = lambda: _control(arguments)  # noqa: E731
    checks = preflight(arguments.host, _cameras(arguments), wovr_home(), arguments.simulator, control)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{check.status.value:4s} {check.name:16s} {check.found}")
            if check.advice:
                print(f"     {'':16s} -> {check.advice}")
    return 1 if any(check.status is Status.FAIL for check in checks) else 0


def _ask_operator(arguments: argparse.Namespace) -> None:
    """A person at the stop button, or nothing is put under power."""
    if arguments.simulator or arguments.yes:
        return
    if not sys.stdin.isatty():
        raise WovrError("--control puts the arm under power: say --yes when somebody stands at the stop button")
    if input("Somebody stands at the hardware stop, and nobody in the arm's reach? Type yes: ").strip() != "yes":
        raise WovrError("not confirmed: nothing was put under power")


def _control(arguments: argparse.Namespace) -> Check:
    from wovr_core.robots.base import Limits, RobotError
    from wovr_core.robots.guarded import franka_robot
    from wovr_core.robots.preflight import Check, Status, check_control
    from wovr_core.robots.simulated import FRANKY_SIM_LIMITS

    limits = FRANKY_SIM_LIMITS if arguments.simulator else Limits()
    try:
        with franka_robot(arguments.host, limits, realtime=not arguments.simulator) as robot:
            return check_control(robot, limits)
    except RobotError as error:
        return Check("control", Status.FAIL, str(error), "see the lines above")


def _cameras(arguments: argparse.Namespace) -> list[CameraProtocol]:
    from wovr_core.robots.cameras import CameraConfig, OpenCVCamera, RealSenseCamera

    found: list[CameraProtocol] = []
    for device in arguments.camera:
        source = int(device) if device.isdigit() else device
        found.append(OpenCVCamera(source, CameraConfig(name=device, fps=arguments.fps)))
    for serial in arguments.realsense:
        number = "" if serial == "any" else serial
        found.append(RealSenseCamera(number, CameraConfig(name=f"realsense {serial}", fps=arguments.fps)))
    return found
