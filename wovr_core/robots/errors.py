"""What may go wrong with a robot. Every message says what a person is to do."""

from __future__ import annotations

from wovr_core.errors import WovrError


class RobotError(WovrError):
    """The robot cannot do what was asked; the message says what to do about it."""


class ConnectionLostError(RobotError):
    """The robot, or the process between it and us, no longer answers."""


class ReflexError(RobotError):
    """The arm stopped itself (mode reflex). A person must look, then `recover(operator_ack=True)`.

    A trial in which it happened ends as "safety abort"; it is never retried inside the trial.
    """


class SafetyStopError(RobotError):
    """The safety layer stopped the arm: `reason` is one of `Clip`. `start()` is needed to go on."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[SafetyStopError], tuple[str, str]]:
        return type(self), (str(self), self.reason)


class NotAcknowledgedError(RobotError):
    """Something that only a person may allow was asked for without that person's acknowledgement."""


class WorkspaceError(RobotError):
    """The arm is outside of the workspace box, or was asked to go there as a whole."""


class GripperError(RobotError):
    """The gripper failed or is busy."""


class CameraError(RobotError):
    """A camera cannot be opened or was unplugged."""


class StaleCameraError(CameraError):
    """A camera's newest frame is older than two of its periods: the step that needed it fails."""
