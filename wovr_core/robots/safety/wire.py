"""Messages between client, guard and arm: one small JSON object per packet of a local socket. No pickle.

Unix sockets of type SOCK_SEQPACKET keep message borders, refuse in place of splitting when the other side is
slow, and report its death at once. They exist on Linux, as does Franka's control interface.
"""

from __future__ import annotations

import dataclasses
import json
import math
import socket
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.robots.base import (
    CameraError,
    ConnectionLostError,
    Gains,
    GripperError,
    Limits,
    Motion,
    NotAcknowledgedError,
    ReflexError,
    RobotError,
    RobotMode,
    RobotState,
    SafetyStopError,
    SentAction,
    WorkspaceError,
)

LARGEST = 16_384
"""Bytes of a message."""
ERRORS: dict[str, type[RobotError]] = {
    kind.__name__: kind
    for kind in (
        RobotError,
        ConnectionLostError,
        ReflexError,
        NotAcknowledgedError,
        WorkspaceError,
        GripperError,
        CameraError,
    )
}
_ARRAYS = ("q", "dq", "tau_J", "tau_ext", "tcp_pose", "tcp_twist", "wrench_ext")


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, for one peer at a time."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(1)
    return listener


def dial(path: Path) -> socket.socket:
    """Connect to `path`. Raises OSError."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        peer.connect(str(path))
    except OSError:
        peer.close()
        raise
    return peer


def send(peer: socket.socket, message: dict[str, Any]) -> bool:
    """Whole or not at all, never waiting; False if the peer is too slow or gone (`receive` tells which)."""
    try:
        peer.send(json.dumps(message, separators=(",", ":")).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True
    except OSError:
        return False


def receive(peer: socket.socket) -> dict[str, Any]:
    """The next message. Raises ConnectionLostError when the peer is gone; ValueError for what is no message."""
    try:
        data = peer.recv(LARGEST)
    except (ConnectionError, OSError) as error:
        if isinstance(error, BlockingIOError | TimeoutError):
            raise
        raise ConnectionLostError(f"the other process is gone ({error})") from error
    if not data:
        raise ConnectionLostError("the other process is gone")
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError(f"a message is an object, not {type(message).__name__}")
    return message


def numbers(message: dict[str, Any], key: str, length: int) -> list[float]:
    """`length` numbers, NaN where the message holds something else: the limiter then refuses the command."""
    values = message.get(key)
    if not isinstance(values, list) or len(values) != length:
        return [math.nan] * length
    return [float(v) if isinstance(v, int | float) and not isinstance(v, bool) else math.nan for v in values]


def pack_state(state: RobotState) -> dict[str, Any]:
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return values | {name: [float(v) for v in values[name]] for name in _ARRAYS}


def unpack_state(values: dict[str, Any]) -> RobotState:
    """Raises ValueError, TypeError for what is no state."""
    return RobotState(
        **values
        | {name: np.asarray(values[name], dtype=float) for name in _ARRAYS}
        | {
            "mode": RobotMode(values["mode"]),
            "motion": Motion(values["motion"]),
            "errors": tuple(values["errors"]),
            "last_motion_errors": tuple(values["last_motion_errors"]),
        }
    )


def pack_sent(sent: SentAction) -> dict[str, Any]:
    return {
        "pose": sent.pose.tolist(),
        "clipped_by": list(sent.clipped_by),
        "delta": sent.delta.tolist(),
        "seq": sent.seq,
        "t_applied": sent.t_applied,
        "motion": sent.motion.value,
    }


def unpack_sent(values: dict[str, Any]) -> SentAction:
    return SentAction(
        pose=np.asarray(values["pose"], dtype=float),
        clipped_by=tuple(values["clipped_by"]),
        delta=np.asarray(values["delta"], dtype=float),
        seq=values["seq"],
        t_applied=values["t_applied"],
        motion=Motion(values["motion"]),
    )


def pack_error(error: Exception) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error), "reason": getattr(error, "reason", "")}


def unpack_error(values: dict[str, Any]) -> RobotError:
    message = str(values.get("message", ""))
    if values.get("type") == SafetyStopError.__name__:
        return SafetyStopError(message, str(values.get("reason", "")))
    return ERRORS.get(str(values.get("type")), RobotError)(message)


def unpack_limits(values: dict[str, Any]) -> Limits:
    """Raises RobotError."""
    try:
        tuples = {key: tuple(float(v) for v in value) for key, value in values.items() if isinstance(value, list)}
        return Limits(**values | tuples)
    except (TypeError, ValueError) as error:
        raise RobotError(f"not limits: {error}") from error


def unpack_gains(values: dict[str, Any]) -> Gains:
    """Raises RobotError."""
    try:
        gains = Gains(**{key: float(value) for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise RobotError(f"not gains: {error}") from error
    if not (0 < gains.translational <= 3000 and 0 < gains.rotational <= 300):
        raise RobotError(f"stiffness {gains} is not in (0, 3000] N/m, (0, 300] N*m/rad")
    return gains
