"""What the safety layer costs and what it holds: a row per fault, with the time to hold and the peak speed.

Baselines are what was specified: the time after which each fault must hold the arm, and the speed limit. Two rows
set the layer beside the bare tracker. Faults that the arm itself catches need franka-sim (tools/franka_sim_env.sh).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np

from apps.bench import Row, row
from wovr_core.robots.arm_server import ArmServerConfig
from wovr_core.robots.base import Limits, RobotError
from wovr_core.robots.drills import DRIVER_ASLEEP, FAULTS, LINK_GONE, NEEDS_REFLEXES, run_drill
from wovr_core.robots.guarded import GuardedRobot
from wovr_core.robots.safety.limiter import limit
from wovr_core.robots.simulated import FRANKY_SIM_LIMITS, FrankySim, franka_sim_python

log = logging.getLogger(__name__)


def specified(fault: str, limits: Limits, arm: ArmServerConfig) -> float:
    """s after which the arm must no longer follow commands, without the machine's own delays."""
    if fault.startswith("client"):
        return limits.stale_after
    if fault.startswith("safety process"):
        return arm.hold_after
    if fault in NEEDS_REFLEXES:
        # The arm's own controller stops it after 20 lost packets of 1 ms (Franka's FCI documentation). What is timed
        # here is our side, which cannot know before it is awake, the link is back, or states are missed; a state is
        # read up to a period late, and the recorder writes once a period.
        unknowing = {"driver asleep 0.3 s": DRIVER_ASLEEP, "reflex": LINK_GONE, "network cut": limits.state_timeout}
        return unknowing[fault] + 2 * arm.state_period
    return limits.period


def run(faults: Sequence[str] = tuple(FAULTS), repeats: int = 1) -> list[Row]:
    """Each fault `repeats` times (the worst counts), then the layer's own cost."""
    rows: list[Row] = []
    for fault in faults:
        simulator = "franka-sim" if fault in NEEDS_REFLEXES else "franky-sim"
        if simulator == "franka-sim" and franka_sim_python() is None:
            log.warning("%s: left out, since franka-sim is missing: run tools/franka_sim_env.sh", fault)
            continue
        results = [run_drill(fault, simulator) for _ in range(repeats)]
        bound = specified(fault, FRANKY_SIM_LIMITS, ArmServerConfig())
        rows.append(row(f"{fault}: time to hold", max(r.time_to_hold for r in results), "s", bound))
        rows.append(row(f"{fault}: time to rest", max(r.time_to_rest for r in results), "s"))
        rows.append(row(f"{fault}: went on while held", max(r.travel for r in results) * 1e3, "mm"))
        if fault == "network cut":
            rows.append(row(f"{fault}: went on by itself", max(r.drift for r in results) * 1e3, "mm"))
        speed = max(r.peak_speed for r in results)
        rows.append(row(f"{fault}: peak speed", speed, "m/s", FRANKY_SIM_LIMITS.max_speed))
    return [*rows, *step_response(), *cost()]


def step_response() -> list[Row]:
    """A target 10 cm away: through the safety layer, and (baseline) given to the tracker as it is."""
    with FrankySim() as simulator:
        bare = _bare_peak(simulator.hostname)
    with FrankySim() as simulator:
        arm = ArmServerConfig(hostname=simulator.hostname, realtime=False, gripper=False)
        with GuardedRobot(arm, FRANKY_SIM_LIMITS) as robot:
            robot.start()
            peak = 0.0
            for seq in range(20):
                robot.dead_man(True)
                robot.send_delta((0, 0.1, 0) if seq == 0 else (0, 0.02, 0), (0, 0, 0), seq, time.monotonic())
                end = time.monotonic() + robot.limits.period
                while time.monotonic() < end:
                    peak = max(peak, robot.get_state().speed)
                    time.sleep(0.005)
            beats = []
            for _ in range(200):
                began = time.perf_counter()
                robot.dead_man(True)
                beats.append(time.perf_counter() - began)
    return [
        row("peak speed towards 10 cm", peak, "m/s", bare),
        row("round trip to the safety process, median", float(np.median(beats)) * 1e3, "ms"),
        row("round trip to the safety process, worst of 200", max(beats) * 1e3, "ms"),
    ]


def _bare_peak(hostname: str) -> float:
    import franky

    robot = franky.Robot(hostname, realtime_config=franky.RealtimeConfig.Ignore)
    pose = robot.current_pose.end_effector_pose
    tracker = franky.CartesianImpedanceTracker(robot, translational_stiffness=2000.0)
    if not robot.is_in_control:
        raise RobotError("the simulator did not give control")
    tracker.set_target(franky.Affine(pose.translation + np.array([0, 0.1, 0]), pose.quaternion))
    peak, end = 0.0, time.monotonic() + 1.5
    while time.monotonic() < end:
        twist = robot.state.O_dP_EE_est
        peak = max(peak, float(np.linalg.norm(twist.linear))) if twist is not None else peak
        time.sleep(0.005)
    tracker.stop()
    return peak


def cost() -> list[Row]:
    """The pure limiter, one command at a time and 5,000 at once."""
    limits, pose = Limits(), np.array([[0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0]])
    command, dt = np.full((1, 6), 0.01), np.array([0.05])
    began = time.perf_counter()
    for _ in range(500):
        limit(pose, pose, command, dt, limits)
    single = (time.perf_counter() - began) / 500
    many = 5_000
    began = time.perf_counter()
    limit(np.repeat(pose, many, 0), np.repeat(pose, many, 0), np.repeat(command, many, 0), np.repeat(dt, many), limits)
    batched = (time.perf_counter() - began) / many
    return [row("limiter, one command", single * 1e6, "us"), row("limiter, batched", batched * 1e6, "us", single * 1e6)]
