"""What no command may exceed, and the names under which limits are recorded.

Units: metres, radians, seconds, newtons, newton metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Clip(StrEnum):
    """Why a command was changed or refused: the entries of `SentAction.clipped_by`."""

    NOT_FINITE = "not_finite"
    """NaN, infinite or beyond all sense: refused."""
    STEP_TRANSLATION = "step_translation"
    STEP_ROTATION = "step_rotation"
    SPEED = "speed"
    ROTATION_SPEED = "rotation_speed"
    WORKSPACE = "workspace"
    ERROR_TRANSLATION = "error_translation"
    """The target was kept near the measured pose."""
    ERROR_ROTATION = "error_rotation"
    STALE = "stale"
    """Older than three periods when it arrived, or none arrived for that long."""
    OUT_OF_ORDER = "out_of_order"
    """Its sequence number is not above the last one's: refused."""
    DEAD_MAN = "dead_man"
    """The operator's key is not pressed."""
    LEASE = "lease"
    """The sender does not hold the lease, or it ran out."""
    OVERSPEED = "overspeed"
    """The tool was measured faster than `max_speed` and its margin: the arm was stopped."""
    FORCE = "force"
    TORQUE = "torque"
    REFLEX = "reflex"
    NOT_RUNNING = "not_running"
    """`start()` was not called, or the arm was stopped since."""
    STATE = "state"
    """The robot's measured state is missing, old or not finite."""
    OPERATOR = "operator"
    """Somebody called `hold()` or `stop()`."""


@dataclass(frozen=True)
class Limits:
    """What no command may exceed. One instance goes with `start()` and is recorded with each episode."""

    rate: float = 20.0
    """Hz, of commands: one period is 1 / rate. 10 to 20 is what the tracker is made for."""
    workspace_low: tuple[float, float, float] = (0.25, -0.45, 0.01)
    workspace_high: tuple[float, float, float] = (0.75, 0.45, 0.75)
    """m, corners of the box that the tool centre point stays in."""
    max_step: float = 0.02
    """m a command."""
    max_rotation_step: float = 0.1
    """rad a command."""
    max_speed: float = 0.25
    """m/s, of the target; measured above `overspeed` times this, the arm stops."""
    overspeed: float = 1.2
    """Measured speed that stops the arm, over `max_speed`. A starved controller overshoots what it was told."""
    max_rotation_speed: float = 1.0
    """rad/s."""
    error_clip: float = 0.02
    """m, of the target from the measured pose."""
    rotation_error_clip: float = 0.2
    """rad."""
    max_force: float = 40.0
    """N, norm of the external force at the tool centre point: above it the arm stops."""
    max_torque: tuple[float, float, float, float, float, float, float] = (40.0, 40.0, 36.0, 36.0, 16.0, 12.0, 12.0)
    """N*m, external torque of each joint: above it the arm stops."""
    stale_periods: float = 3.0
    """A command older than this many periods is refused; none for this long -> hold."""
    stop_after: float = 1.0
    """s without what is needed to move (commands, dead-man key) -> stop."""
    dead_man_required: bool = True
    dead_man_timeout: float = 0.5
    """s that one `dead_man(True)` counts."""
    lease: float = 2.0
    """s that a client keeps the arm without a sign of life."""
    state_timeout: float = 0.1
    """s after which a measured state is too old to move by."""
    min_success_rate: float = 0.9
    """Control command success rate under which the preflight and the runner warn."""

    @property
    def period(self) -> float:
        """s."""
        return 1.0 / self.rate

    @property
    def stale_after(self) -> float:
        """s."""
        return self.stale_periods * self.period


@dataclass(frozen=True)
class Gains:
    """Of the Cartesian impedance controller. Damping is critical: 2 sqrt(stiffness).

    Stiff, since the error clip that bounds the speed bounds the force as well: soft gains stall on friction.
    """

    translational: float = 2000.0
    """N/m."""
    rotational: float = 150.0
    """N*m/rad."""
