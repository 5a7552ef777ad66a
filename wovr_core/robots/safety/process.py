"""The safety process: the guard between a client's socket and the arm's.

    client --commands--> safety process --target, motion, 50 Hz--> arm process --1 kHz--> arm

One thread, one loop, no blocking call. When the client dies or falls silent, the guard holds, then stops. When
this process dies or hangs, the arm process notices the missing heartbeat, holds, then stops. It ends when its
client asks, or when it has been alone with a stopped arm for `LINGER` seconds.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from wovr_core.robots.base import (
    Clip,
    ConnectionLostError,
    Motion,
    NotAcknowledgedError,
    RobotError,
    RobotMode,
    SafetyStopError,
)
from wovr_core.robots.gripper import check_grip
from wovr_core.robots.kinematics import check_reset_goal
from wovr_core.robots.safety import wire
from wovr_core.robots.safety.guard import Guard, hard_stop_error, reflex_error

HEARTBEAT = 0.02
"""s between what the arm process is told, and so between looks at the guard's clocks."""
LINGER = 2.0
"""s"""


class SafetyProcess:
    """The loop, over a listening socket for one client at a time and the arm process's socket."""

    def __init__(self, listener: socket.socket, arm: socket.socket) -> None:
        self._guard = Guard()
        self._arm = arm
        self._arm_alive = True
        self._listener = listener
        self._client: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        for peer in (listener, arm):
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ)
        self._calls: dict[int, tuple[int, str]] = {}
        """Arm call -> (client's message, its kind)."""
        self._next_call = 0
        self._starting = self._resetting = False
        self._controlled = False
        self._alone_since = time.monotonic()
        self._end = False

    def run(self) -> None:
        beat = time.monotonic()
        while not self._end:
            due = min(beat, self._guard.next_lapse())  # a lapse does not wait for the next heartbeat
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._arm:
                    self._hear_arm()
                else:
                    self._hear_client()
            now = time.monotonic()
            if now >= beat or now > self._guard.next_lapse():
                self._watch(now)
                beat = now + HEARTBEAT
        self._guard.stop(Clip.OPERATOR)
        self._tell_arm()

    # The client's side

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        if self._client is not None:  # one client at a time: the lease is taken
            wire.send(peer, {"id": 0, "error": {"type": "RobotError", "message": "another client holds the robot"}})
            peer.close()
            return
        peer.setblocking(False)
        self._client = peer
        self._selector.register(peer, selectors.EVENT_READ)

    def _hear_client(self) -> None:
        assert self._client is not None
        try:
            message = wire.receive(self._client)
        except BlockingIOError:
            return
        except ConnectionLostError:
            self._selector.unregister(self._client)
            self._client.close()
            self._client, self._alone_since = None, time.monotonic()
            self._calls = {}
            return  # the guard's clocks do the rest: hold, then stop
        except ValueError:
            return
        number = message.get("id")
        try:
            answer = self._serve(str(message.get("kind")), message, time.monotonic())
        except RobotError as error:
            answer = {"error": wire.pack_error(error)}
        if answer is not None and self._client is not None:
            wire.send(self._client, answer | {"id": number})

    def _serve(self, kind: str, message: dict[str, Any], now: float) -> dict[str, Any] | None:
        """The answer, or None if the arm will give it."""
        guard = self._guard
        guard.alive(now)
        if kind == "delta":
            return self._delta(message, now)
        if kind == "dead_man":
            guard.dead_man(message.get("pressed") is True, now)
            self._tell_arm()
            return {}
        if kind == "state":
            return self._state()
        if kind in ("stop", "hold"):
            if kind == "stop":
                guard.stop(Clip.OPERATOR)
                self._resetting = False
            else:
                guard.hold(now)
            self._tell_arm()
            return {}
        if kind == "shutdown":
            self._end = True
            return {}
        if not self._arm_alive:
            raise ConnectionLostError("the arm process is gone; the arm stopped. Connect again")
        if kind == "start":
            limits, gains = wire.unpack_limits(message.get("limits", {})), message.get("gains", {})
            wire.unpack_gains(gains)
            guard.start(limits, now)
            self._starting = True
            self._tell_arm()
            self._call(message, "start", {"gains": gains, "limits": message.get("limits", {})})
            return None
        if kind == "recover":
            if message.get("operator_ack") is not True:
                raise NotAcknowledgedError("a reflex is cleared only after a person looked: recover(operator_ack=True)")
            guard.stop(Clip.OPERATOR)
            self._tell_arm()
            self._call(message, "recover", {})
            return None
        if kind == "reset":
            self._reset(message, now)
            return None
        if kind in ("move_gripper", "grasp"):
            count = 2 if kind == "move_gripper" else 5
            asked = wire.numbers(message, "args", count)
            check_grip(*asked[:3])
            self._call(message, kind, {"args": asked})
            return None
        raise RobotError(f"unknown message {kind!r}")

    def _delta(self, message: dict[str, Any], now: float) -> dict[str, Any]:
        seq, t_sent = message.get("seq"), wire.numbers({"t": [message.get("t_sent")]}, "t", 1)[0]
        sent = self._guard.command(
            wire.numbers(message, "dpos", 3),
            wire.numbers(message, "drotvec", 3),
            seq if isinstance(seq, int) else -1,
            t_sent,
            now,
        )
        self._tell_arm()
        if not self._arm_alive:
            raise ConnectionLostError("the arm process is gone; the arm stopped. Connect again")
        error = hard_stop_error(self._guard.hard_stop, self._guard.state)
        if error is not None:
            raise error
        return {"sent": wire.pack_sent(sent)}

    def _state(self) -> dict[str, Any]:
        if self._guard.state is None or not self._arm_alive:
            raise ConnectionLostError("the arm sends no states; connect again")
        reason = self._guard.reason
        packed = wire.pack_state(self._guard.state)
        return {"state": packed | {"motion": self._guard.motion, "stop_reason": reason or ""}}

    def _reset(self, message: dict[str, Any], now: float) -> None:
        guard = self._guard
        q, pose = (wire.numbers(message, key, 7) if message.get(key) is not None else None for key in ("q", "pose"))
        limits = wire.unpack_limits(message.get("limits", {}))
        goal = check_reset_goal(q, pose, limits)
        guard.stop(Clip.OPERATOR)
        self._tell_arm()
        if guard.state is None or guard.state.mode is RobotMode.REFLEX or guard.state.errors:
            raise reflex_error(guard.state) if guard.state else ConnectionLostError("the arm sends no states")
        if limits.dead_man_required and not guard.pressed(now):
            raise SafetyStopError("the arm may not move: the dead-man key is not pressed", Clip.DEAD_MAN)
        guard.limits = limits
        self._resetting = True
        self._call(message, "move_joints" if q is not None else "move_pose", {"goal": goal.tolist()})

    # The arm's side

    def _call(self, message: dict[str, Any], name: str, arguments: dict[str, Any]) -> None:
        self._next_call += 1
        self._calls[self._next_call] = (int(message.get("id", 0)), name)
        if not wire.send(self._arm, {"kind": "call", "id": self._next_call, "name": name, **arguments}):
            raise ConnectionLostError("the arm process does not take calls")

    def _tell_arm(self) -> None:
        guard = self._guard
        beat = {
            "kind": "beat",
            "motion": guard.motion.value,
            "moving": self._resetting,
            "target": guard.target.tolist(),
        }
        wire.send(self._arm, beat)

    def _hear_arm(self) -> None:
        try:
            message = wire.receive(self._arm)
            if message.get("kind") == "state":
                now = time.monotonic()
                self._controlled = bool(message.get("controlled"))
                self._guard.see(wire.unpack_state(message["state"]), now)
            elif message.get("kind") == "done":
                self._finish(message)
        except BlockingIOError:
            return
        except ConnectionLostError:
            self._selector.unregister(self._arm)
            self._arm_alive = False
            self._guard.stop(Clip.STATE)
            for number, _ in self._calls.values():
                self._answer(number, {"error": wire.pack_error(ConnectionLostError("the arm process is gone"))})
            self._calls = {}
        except (ValueError, TypeError, KeyError):
            self._guard.stop(Clip.STATE)  # it no longer speaks our language

    def _finish(self, message: dict[str, Any]) -> None:
        number, name = self._calls.pop(int(message["id"]), (None, ""))
        if name == "start":
            self._starting = False
            self._controlled = "error" not in message
            if "error" in message:
                self._guard.stop(Clip.OPERATOR)
        if name.startswith("move_") and name != "move_gripper":
            self._resetting = False
        if number is not None:
            self._answer(number, {key: message[key] for key in ("error", "value") if key in message})

    def _answer(self, number: int, answer: dict[str, Any]) -> None:
        if self._client is not None:
            wire.send(self._client, answer | {"id": number})

    # Time

    def _watch(self, now: float) -> None:
        guard = self._guard
        guard.tick(now)
        if guard.motion is not Motion.STOPPED and not self._controlled and not self._starting:
            guard.stop(Clip.STATE)  # the arm's own watchdog stopped it
        if self._resetting:
            released = guard.limits.dead_man_required and not guard.pressed(now)
            if released or self._client is None:
                self._resetting = False
        self._tell_arm()
        alone = self._client is None and guard.motion is Motion.STOPPED and now - self._alone_since > LINGER
        if alone or (self._client is None and not self._arm_alive):
            self._end = True


def main() -> None:
    """`python -m wovr_core.robots.safety --socket PATH --arm PATH`: prints "ready" when clients may come."""
    parser = argparse.ArgumentParser(prog="wovr_core.robots.safety")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--arm", type=Path, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's; it says what it wants
    arm = wire.dial(arguments.arm)
    listener = wire.listen(arguments.socket)
    print("ready", flush=True)
    sys.stdout.close()
    SafetyProcess(listener, arm).run()
