"""What to check before the first motion: versions, kernel, network, cameras, disk. Moves nothing.

The server's version and the state stream are read by speaking the first words of libfranka's protocol
ourselves, so that a driver that does not fit can be told which one would.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import resource
import shutil
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.robots.base import CameraProtocol, ConnectionLostError, Limits, Robot, RobotError, RobotMode

COMMAND_PORT = 1337
_HEADER = struct.Struct("<III")
"""Command, message number, size with header: libfranka's research interface."""
_CONNECT = 0
WHEELS = "https://timschneider42.github.io/franky/whl/by-robot-server-version/{version}/"
"""Where franky's authors keep wheels for each robot server version (from its documentation)."""
SERVER_BY_LIBFRANKA = (((0, 18), 10), ((0, 15), 9))
"""libfranka from this release on -> the robot server version it speaks (Franka's compatibility matrix)."""
FREE_GB_NEEDED, FREE_GB_WANTED = 5.0, 50.0
STREAM_SECONDS = 2.0
LATE, TOO_LATE = 0.003, 0.02
"""s between 1 kHz states: the 99.9th percentile that is worth a warning; one gap that ends a motion (20 cycles)."""


class Status(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do; empty when all is well."""
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """What arrived of the robot's 1 kHz state stream."""

    server_version: int
    received: int
    lost: int
    gaps: np.ndarray
    """(received - 1,) s between arrivals."""


def observe_stream(hostname: str, seconds: float = STREAM_SECONDS, port: int = COMMAND_PORT) -> Stream:
    """Connect as libfranka does, claim its newest version, and listen. Raises ConnectionLostError.

    A robot takes one client at a time, so nothing else may be connected.
    """
    try:
        with (
            socket.create_connection((hostname, port), timeout=5) as command,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states,
        ):
            states.bind(("", 0))
            states.settimeout(1.0)
            version = SERVER_BY_LIBFRANKA[0][1]
            payload = struct.pack("<HH", version, states.getsockname()[1])
            command.sendall(_HEADER.pack(_CONNECT, 1, _HEADER.size + len(payload)) + payload)
            _, _, size = _HEADER.unpack(_exactly(command, _HEADER.size))
            if not _HEADER.size + 4 <= size <= 1024:
                raise ConnectionLostError(f"what answers at {hostname}:{port} is no Franka robot")
            _, server_version = struct.unpack_from("<HH", _exactly(command, size - _HEADER.size))
            arrivals, numbers = [], []
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    packet = states.recv(65536)
                except TimeoutError:
                    break
                arrivals.append(time.perf_counter())
                numbers.append(struct.unpack_from("<Q", packet)[0])
    except OSError as error:
        raise ConnectionLostError(
            f"no robot answers at {hostname}:{port} ({error}): power, brakes, FCI active, the cable in the control "
            "box's port, this machine's address in its network"
        ) from error
    lost = (numbers[-1] - numbers[0] + 1 - len(set(numbers))) if numbers else 0
    return Stream(server_version, len(numbers), int(lost), np.diff(arrivals))


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise ConnectionLostError("the robot closed the connection during the handshake: is another client on it?")
        data += part
    return data


def bundled_libfranka() -> str | None:
    """The version of libfranka inside the installed franky-control wheel, or None."""
    try:
        files = metadata.files("franky-control") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if match := re.fullmatch(r"libfranka-[0-9a-f]+\.so\.(\d+\.\d+\.\d+)", file.name):
            return match.group(1)
    return ""


def check_driver() -> Check:
    version = bundled_libfranka()
    if version is None:
        return Check("driver", Status.FAIL, "franky-control is not installed", "pip install 'wovr-workbench[robot]'")
    try:
        import franky  # noqa: F401
    except ImportError as error:
        return Check("driver", Status.FAIL, str(error), "pip install --force-reinstall 'wovr-workbench[robot]'")
    return Check("driver", Status.PASS, f"franky-control {metadata.version('franky-control')}, libfranka {version}")


def check_server(stream: Stream) -> Check:
    version = bundled_libfranka() or "0"
    major, minor = (int(part) for part in [*version.split("."), "0"][:2])
    speaks = next((server for since, server in SERVER_BY_LIBFRANKA if (major, minor) >= since), None)
    found = f"robot server version {stream.server_version}, the driver speaks {speaks or 'an older one'}"
    if speaks == stream.server_version:
        return Check("server", Status.PASS, found)
    wheel = WHEELS.format(version=stream.server_version)
    return Check(
        "server",
        Status.FAIL,
        found,
        f"install the wheel for server {stream.server_version}: pip install --force-reinstall franky-control "
        f"--extra-index-url {wheel}  (or update the robot's system image)",
    )


def check_network(stream: Stream) -> Check:
    if stream.received < 2:
        return Check(
            "network", Status.FAIL, "no states arrived by UDP", "let UDP from the robot pass this machine's firewall"
        )
    p999, worst = float(np.quantile(stream.gaps, 0.999)), float(stream.gaps.max())
    share = stream.lost / (stream.lost + stream.received)
    found = (
        f"{1 / stream.gaps.mean():.0f} Hz, gaps: 99.9 % under {p999 * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms, "
        f"{stream.lost} of {stream.lost + stream.received} lost"
    )
    numbers = {"rate_hz": float(1 / stream.gaps.mean()), "p999_ms": p999 * 1e3, "worst_ms": worst * 1e3, "lost": share}
    advice = (
        "plug the cable straight into the control box (no switch, no Wi-Fi), turn CPU frequency scaling off, and run "
        "nothing else on this machine"
    )
    bad = worst > TOO_LATE or share > 0.01 or numbers["rate_hz"] < 900
    status = Status.FAIL if bad else Status.WARN if p999 > LATE else Status.PASS
    return Check("network", status, found, "" if status is Status.PASS else advice, numbers)


def check_kernel() -> Check:
    realtime = Path("/sys/kernel/realtime")
    ok = (realtime.is_file() and realtime.read_text().strip() == "1") or "PREEMPT_RT" in platform.version()
    priority = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    allowed = priority == resource.RLIM_INFINITY or priority >= 80
    found = f"{platform.release()}, {'PREEMPT_RT' if ok else 'not real-time'}, rtprio limit {priority}"
    if ok and allowed:
        return Check("kernel", Status.PASS, found)
    steps = [] if ok else ["boot a PREEMPT_RT kernel (Ubuntu: `pro enable realtime-kernel`)"]
    steps += [] if allowed else ["give your group rtprio 99 and memlock in /etc/security/limits.conf"]
    return Check("kernel", Status.FAIL, found, "; ".join(steps) + "; simulators do without")


def check_governor() -> Check:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if not path.is_file():
        return Check("cpu", Status.SKIP, "no frequency scaling to be seen")
    governor = path.read_text().strip()
    ok = governor == "performance"
    return Check(
        "cpu", Status.PASS if ok else Status.WARN, governor, "" if ok else "cpupower frequency-set -g performance"
    )


def check_disk(folder: Path) -> Check:
    where = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(where).free / 1e9
    status = Status.FAIL if free < FREE_GB_NEEDED else Status.WARN if free < FREE_GB_WANTED else Status.PASS
    advice = (
        ""
        if status is Status.PASS
        else "30 trials with video and two cameras take 5 GB or more: make room, or set WOVR_HOME"
    )
    return Check("disk", status, f"{free:.1f} GB free at {where}", advice, {"free_gb": free})


def check_camera(camera: CameraProtocol, seconds: float = STREAM_SECONDS) -> Check:
    """Counts the frames that arrive."""
    name = f"camera {camera.name}"
    try:
        with camera:
            first = last = camera.read()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.2 / camera.fps)
                last = camera.read()
    except WovrError as error:
        return Check(name, Status.FAIL, str(error), "check cable, port and permissions; lower the resolution")
    elapsed = last.t_host - first.t_host
    rate = (last.frame_no - first.frame_no) / elapsed if elapsed > 0 else 0.0
    height, width = last.rgb.shape[:2]
    status = Status.PASS if rate >= 0.9 * camera.fps else Status.WARN if rate >= 0.5 * camera.fps else Status.FAIL
    advice = (
        "" if status is Status.PASS else "use a USB 3 port of its own, more light (long exposures), or a lower rate"
    )
    return Check(name, status, f"{rate:.1f} Hz of {camera.fps:g}, {width}x{height}", advice, {"rate_hz": rate})


def check_control(robot: Robot, limits: Limits, seconds: float = STREAM_SECONDS) -> Check:
    """Holds still under torque control and watches the share of commands that arrive in time.

    The arm does not go anywhere, but it is under power: the caller asks the operator first.
    """
    rates = []
    try:
        state = robot.get_state()
        if state.mode is RobotMode.REFLEX or state.errors:
            return Check("control", Status.FAIL, f"mode {state.mode.value}: {', '.join(state.errors)}", "recover first")
        robot.start(limits=limits)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.05)
                rates.append(robot.get_state().cmd_success_rate)
        finally:
            robot.stop()
    except RobotError as error:
        return Check("control", Status.FAIL, str(error), "see the lines above: kernel, network")
    worst = float(np.nanmin(rates)) if not np.isnan(rates).all() else float("nan")
    ok = worst >= limits.min_success_rate
    return Check(
        "control",
        Status.PASS if ok else Status.WARN,
        f"command success rate {worst:.3f} at worst while holding still",
        "" if ok else "below 0.9 motions will end in communication_constraints_violation: kernel, network, other load",
        {"success_rate": worst},
    )


def preflight(
    hostname: str | None,
    cameras: Sequence[CameraProtocol],
    folder: Path,
    simulator: bool = False,
    control: Callable[[], Check] | None = None,
) -> list[Check]:
    """All checks, in the order in which one would mend them. None of them raises for what it finds."""
    checks = [check_driver(), check_kernel(), check_governor()]
    if hostname is None:
        checks.append(Check("server", Status.SKIP, "no --host given", "wovr robot check --host ADDRESS"))
    else:
        try:
            stream = observe_stream(hostname)
            checks += [check_server(stream), check_network(stream)]
        except ConnectionLostError as error:
            checks.append(Check("server", Status.FAIL, str(error), "mend this first; the rest needs it"))
    if simulator:  # shares its processor with us and needs no real time: what is late is no fault of the machine
        checks = [
            dataclasses.replace(check, status=Status.WARN)
            if check.status is Status.FAIL and check.name in ("kernel", "network")
            else check
            for check in checks
        ]
    if control is not None and all(check.status is not Status.FAIL for check in checks):
        checks.append(control())
    else:
        checks.append(
            Check("control", Status.SKIP, "not tried", "--control holds the arm still for 2 s and counts late commands")
        )
    checks += [check_camera(camera) for camera in cameras]
    return [*checks, check_disk(folder)]
