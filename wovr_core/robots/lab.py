"""A simulated lab: one LIBERO task behind the interface of a real robot, with an operator who sets up the scene.

Physics, controller and success predicate are LIBERO's (`envs.libero`). `send_delta` becomes the action of its
operational-space controller, which adds deltas to the *measured* pose; all else is as `robots.base` says. The world
moves when its clock does: simulated (as fast as the machine can, the same bits every time) or along with wall time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.errors import WovrError
from wovr_core.robots.base import (
    Clip,
    Gains,
    Limits,
    Motion,
    NotAcknowledgedError,
    ReflexError,
    RobotError,
    RobotMode,
    RobotState,
    SentAction,
    Vector,
)
from wovr_core.robots.lab_parts import LabCamera, LabClock, LabGripper
from wovr_core.robots.safety.limiter import into_box, limit
from wovr_core.types import NULL_ACTION, FloatArray, StateArray, TaskId

TRANSLATION, ROTATION = 0.05, 0.5
"""m and rad of LIBERO's controller for an action of 1."""
LAB_LIMITS = Limits(
    rate=20.0,
    workspace_low=(0.0, -0.8, -0.2),
    workspace_high=(1.2, 0.8, 1.4),
    max_step=0.09,
    max_rotation_step=0.9,
    max_speed=1.8,
    max_rotation_speed=18.0,
    error_clip=0.09,
    rotation_error_clip=0.9,
    dead_man_timeout=0.5,
)
"""As wide as LIBERO's own action space, so that a policy of the library is not changed. Of no use on a real arm."""


@dataclass(frozen=True)
class LabConfig:
    """Which task, seen how, on which clock."""

    env: LiberoConfig = field(default_factory=LiberoConfig)
    task: int = 0
    realtime: bool = False
    """Along with wall time, for people; otherwise simulated time."""
    conditions: str = "evaluation"
    """Initial conditions by number: "evaluation", LIBERO's 50 states, or "training", seeded resets."""

    def __post_init__(self) -> None:
        if self.conditions not in ("evaluation", "training"):
            raise WovrError(f"initial conditions {self.conditions!r}; they are evaluation or training")


class SimulatedLab:
    """Robot, camera and scene. Everything but `close_gripper`'s caller stays in one thread (the picture's)."""

    name = "simulated lab"

    def __init__(self, config: LabConfig, env: LiberoEnv | None = None) -> None:
        """env: built already; it is left open at the end then."""
        self.config = config
        self._given = env
        self._env = env
        self.limits = LAB_LIMITS
        self.clock = LabClock(self, config.realtime)
        self.camera = LabCamera(self)
        self.gripper = LabGripper(self)
        self.steps = 0
        """Control periods since connect: the number of what the camera shows."""
        self._motion = Motion.STOPPED
        self._reason = ""
        self._reflex = False
        self._closed = False
        self._pending: FloatArray | None = None
        self._last_seq = -1
        self._pressed_until = -np.inf
        self._base = np.zeros(3)

    # -- the scene

    @property
    def env(self) -> LiberoEnv:
        if self._env is None:
            raise RobotError("the simulated lab is not connected")
        return self._env

    @property
    def task(self) -> TaskId:
        return self.env.task

    def arrange(self, condition: int) -> None:
        """The operator puts arm and objects where the initial condition has them."""
        self.stop()
        env = self.env
        if self.config.conditions == "evaluation":
            env.reset_to_initial(condition)
        else:
            env.reset(condition)
        self._closed, self._reflex = False, False
        self.steps += 1
        self.camera.forget()

    def truth(self) -> bool:
        """LIBERO's own verdict on the present state."""
        return self.env.success

    def sim_state(self) -> StateArray:
        """(S,) what replays this instant."""
        return self.env.sim_state()

    def advance(self) -> None:
        """One control period passes: the pending command, or none, is executed."""
        action = NULL_ACTION.copy()
        if self._motion is Motion.RUNNING and self._pending is not None:
            action[:6] = self._pending[:6]
        elif self._motion is Motion.RUNNING:
            self._halt(Motion.HOLDING, Clip.STALE)
        self._pending = None
        action[6] = 1.0 if self._closed else -1.0
        self.env.advance(action)
        self.steps += 1

    def inject_reflex(self) -> None:
        """The arm stops itself, as after a collision."""
        self._reflex = True
        self._halt(Motion.STOPPED, Clip.REFLEX)

    def close_gripper(self, close: bool) -> None:
        """What the gripper was told last."""
        self._closed = close

    # -- the robot

    def connect(self) -> None:
        if self._env is None:
            self._env = LiberoEnv(self.config.env, self.config.task)
        self._base = np.array(self._env.data.body("robot0_base").xpos)

    def disconnect(self) -> None:
        if self._env is None:
            return
        self.stop()
        if self._given is None:
            self._env.close()
            self._env = None

    def reset(self, q: Sequence[float] | None = None, pose: Sequence[float] | None = None) -> None:
        """The lab's arm is placed with its scene by `arrange`; alone it goes nowhere."""
        raise RobotError("the simulated lab's arm begins where the initial condition has it: use arrange(condition)")

    def get_state(self) -> RobotState:
        env, data = self.env, self.env.data
        arm = env._scene.arm
        now = self.clock.now()
        eef = env.poses()["eef"]
        pose = np.concatenate([eef[:3].astype(np.float64) - self._base, eef[[4, 5, 6, 3]].astype(np.float64)])
        moving = self._motion is not Motion.STOPPED
        return RobotState(
            t_robot=float(data.time),
            t_host=now,
            seq=self.steps,
            q=np.array(data.qpos[arm], dtype=np.float64),
            dq=np.array(data.qvel[arm], dtype=np.float64),
            tau_J=np.array(data.qfrc_actuator[arm], dtype=np.float64),
            tau_ext=np.zeros(7),  # LIBERO has no force sensors that could tell
            tcp_pose=pose,
            tcp_twist=self._twist(),
            wrench_ext=np.zeros(6),
            gripper_width=env.gripper_width(),
            is_grasped=env.held_object() is not None,
            mode=RobotMode.REFLEX if self._reflex else RobotMode.MOVE if moving else RobotMode.IDLE,
            errors=("simulated reflex",) if self._reflex else (),
            last_motion_errors=(),
            cmd_success_rate=1.0 if moving else float("nan"),
            motion=self._motion,
            stop_reason=self._reason,
        )

    def start(self, gains: Gains | None = None, limits: Limits | None = None) -> None:
        """LIBERO's gains are fixed; the rate is LIBERO's 20 Hz."""
        if self._reflex:
            raise ReflexError("the arm is in reflex: look at it, then recover(operator_ack=True)")
        if limits is not None:
            if limits.rate != LAB_LIMITS.rate:
                raise RobotError(f"the simulated lab runs at {LAB_LIMITS.rate:g} Hz, not {limits.rate:g}")
            self.limits = limits
        self._motion, self._reason = Motion.RUNNING, ""
        self._pending = None
        self._last_seq = -1

    def stop(self) -> None:
        self._halt(Motion.STOPPED, Clip.OPERATOR)

    def hold(self) -> None:
        if self._motion is not Motion.STOPPED:
            self._halt(Motion.HOLDING, Clip.OPERATOR)

    def recover(self, operator_ack: bool = False) -> None:
        if not operator_ack:
            raise NotAcknowledgedError("a reflex is cleared only after a person looked: recover(operator_ack=True)")
        self._reflex = False

    def dead_man(self, pressed: bool) -> None:
        self._pressed_until = self.clock.now() + self.limits.dead_man_timeout if pressed else -np.inf

    def send_delta(self, dpos: Sequence[float], drotvec: Sequence[float], seq: int, t_sent: float) -> SentAction:
        if self._reflex:
            raise ReflexError("the arm stopped itself (simulated reflex): look, then recover(operator_ack=True)")
        pose = self.get_state().tcp_pose
        refusal = self._refusal(seq, t_sent)
        if refusal is not None:
            return self._sent(pose, np.zeros(6), (refusal.value,), seq)
        self._motion, self._reason, self._last_seq = Motion.RUNNING, "", seq
        asked = np.concatenate([np.asarray(dpos, dtype=np.float64), np.asarray(drotvec, dtype=np.float64)])
        previous = np.concatenate([into_box(pose[:3], self.limits), pose[3:]])[None]
        period = np.array([self.limits.period])
        limited = limit(previous, pose[None], asked[None], period, self.limits)
        clipped = limited.names()
        delta = limited.delta[0] if clipped else asked
        units = delta / np.repeat([TRANSLATION, ROTATION], 3)
        self._pending = np.clip(units, -1, 1).astype(np.float32)
        return self._sent(limited.target[0], delta, clipped, seq)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def _refusal(self, seq: int, t_sent: float) -> Clip | None:
        if self._motion is Motion.STOPPED:
            return Clip.NOT_RUNNING
        if seq <= self._last_seq:
            return Clip.OUT_OF_ORDER
        if self.clock.now() - t_sent > self.limits.stale_after:
            return Clip.STALE
        if self.limits.dead_man_required and self.clock.now() > self._pressed_until:
            self._halt(Motion.HOLDING, Clip.DEAD_MAN)
            return Clip.DEAD_MAN
        return None

    def _halt(self, motion: Motion, reason: Clip) -> None:
        self._motion, self._reason, self._pending = motion, reason.value, None

    def _sent(self, pose: Vector, delta: Vector, clipped: tuple[str, ...], seq: int) -> SentAction:
        return SentAction(pose, clipped, delta, seq, self.clock.now(), self._motion)

    def _twist(self) -> Vector:
        import mujoco

        env = self.env
        twist = np.zeros(6)
        site = mujoco.mjtObj.mjOBJ_SITE
        mujoco.mj_objectVelocity(env.model, env.data, site, env.model.site("gripper0_grip_site").id, twist, 0)
        return np.concatenate([twist[3:], twist[:3]])
