"""One trial of a policy on a robot: at each period look, send one action, keep all of it; hold when the policy is late.

The policy decides in a thread of its own, a chunk at a time, on the newest frame when the chunk before is used up.
While it thinks the arm holds, and those steps are recorded as what they were: no motion, "late". What is recorded as
action is what was really sent, after every limit, in the policy's own units.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from wovr_core.errors import Interrupted, WovrError
from wovr_core.robots.base import (
    CameraProtocol,
    Clip,
    Motion,
    ReflexError,
    Robot,
    RobotError,
    RobotState,
    SafetyStopError,
)
from wovr_core.robots.pictures import to_frame
from wovr_core.robots.tape import Tape
from wovr_core.robots.trial import (
    GRIPPER_OPEN,
    Actor,
    Decision,
    How,
    PatientClock,
    RunnerClock,
    RunnerConfig,
    TrialRun,
    Wishes,
    World,
)
from wovr_core.types import ACTION_DIM, NULL_ACTION, FloatArray, Frames, TaskId

__all__ = [
    "Actor",
    "Decision",
    "PatientClock",
    "RunnerClock",
    "RunnerConfig",
    "TrialRun",
    "Wishes",
    "World",
    "run_trial",
]
log = logging.getLogger("wovr.robot")

_HARMLESS = (Clip.DEAD_MAN.value, Clip.STALE.value, Clip.OPERATOR.value)


def run_trial(
    robot: Robot,
    camera: CameraProtocol,
    actor: Actor,
    task: TaskId,
    seed: int,
    config: RunnerConfig,
    *,
    episode_id: str,
    source: str,
    clock: RunnerClock | None = None,
    wishes: Wishes | None = None,
    world: World | None = None,
) -> TrialRun:
    """Run one trial on a robot that is connected and stands where it should begin. Never raises for what the robot,
    the camera or the policy do: that is the trial's result. Afterwards the arm is stopped.

    Args:
        source: what the episode says of who acted (a blinded evaluation must not say it).
        world: in simulation; success and replayable states are recorded, and the trial ends a little after success.
    """
    trial = _Trial(robot, camera, actor, task, config, clock or PatientClock(), wishes or Wishes(), world)
    began = trial.clock.now()
    how: How = "finished"
    why = ""
    try:
        actor.begin(seed)
        robot.start()
        why = trial.run()
        how = "operator_stop" if why else "finished"
    except (ReflexError, SafetyStopError) as error:
        how, why = "safety_abort", str(error)  # never retried here: a person looks first
    except (KeyboardInterrupt, Interrupted):
        how, why = "interrupted", "stopped by Ctrl-C"
    except WovrError as error:
        how, why = "fault", f"{type(error).__name__}: {error}"
    except Exception as error:  # a policy's failure is this trial's result
        log.exception("the policy or the robot failed")
        how, why = "fault", f"{type(error).__name__}: {error}"
    finally:
        trial.close()
    tape = trial.tape
    info = {
        "start": "robot", "robot": robot.name, "camera": camera.name, "ended": how, "why": why,
        "limits": json.dumps(robot.limits.__dict__), "clipped_by": json.dumps(tape.clipped), "view": "robot",
    }  # fmt: skip
    episode = tape.episode(episode_id, task, seed, source, info) if tape.frames else None
    return TrialRun(how, why, episode, tape.late, tape.held, tape.clip_counts(), round(trial.clock.now() - began, 3))


class _Trial:
    """The loop's state."""

    def __init__(
        self,
        robot: Robot,
        camera: CameraProtocol,
        actor: Actor,
        task: TaskId,
        config: RunnerConfig,
        clock: RunnerClock,
        wishes: Wishes,
        world: World | None,
    ) -> None:
        self.robot, self.camera, self.actor, self.task = robot, camera, actor, task
        self.config, self.clock, self.wishes, self.world = config, clock, wishes, world
        self.tape = Tape()
        self._thinking = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._asked: Future[Decision] | None = None
        self._chunk: list[FloatArray] = []
        self._previous = NULL_ACTION
        self._state: RobotState | None = None
        self._closed = False
        self._executed = 0
        self._solved_at: int | None = None
        self._waiting_since: float | None = None

    def run(self) -> str:
        """Until the trial is over; returns why, if the operator (or nobody) ended it."""
        period = self.robot.limits.period
        due = self.clock.now()
        seq = 0
        frame = self._look()
        while not self._over():
            if self.wishes.stop():
                return "ended by the operator"
            pressed = self.wishes.dead_man()
            self.robot.dead_man(pressed)
            action = self._next_action(frame, due + self.config.patience * period)
            t_sent = self.clock.now()
            if action is None or not pressed:
                self.robot.hold()
                reason = Clip.DEAD_MAN.value if not pressed else "late"
                self.tape.hold(self._still(), t_sent, reason)
                if not pressed:
                    self._forget()  # when motion goes on, the policy decides on what it sees then
            else:
                seq += 1
                self._start_again()
                self._send(action, seq, self.clock.now())
            if self._given_up(t_sent):
                return "nobody held the dead-man key, or no decision came, for too long"
            due += period
            self.clock.sleep(due - self.clock.now())
            # A step that took longer than its period shifts the schedule: no burst of commands to catch up.
            due = max(due, self.clock.now() - period)
            frame = self._look()
        return ""

    def close(self) -> None:
        """Stop the arm, whatever happened; the policy's thread is left to finish its thought."""
        try:
            self.robot.dead_man(False)
            self.robot.stop()
        except RobotError as error:
            log.warning("the robot could not be told to stop: %s", error)
        self._thinking.shutdown(wait=False, cancel_futures=True)

    def _over(self) -> bool:
        if self._solved_at is not None and self._executed >= self._solved_at + self.config.steps_after_success:
            return True
        return self._executed >= self.config.max_steps

    def _look(self) -> Frames:
        seen = self.camera.read()
        frame = to_frame(seen.rgb, self.config.picture)
        solved = self.world.truth() if self.world else False
        if solved and self._solved_at is None:
            self._solved_at = self._executed
        self._state = self.robot.get_state()
        self.tape.see(frame, seen, self._state, solved, self.world.sim_state() if self.world else None)
        self.wishes.watch(frame, len(self.tape.frames) - 1)
        return frame

    def _next_action(self, frame: Frames, deadline: float) -> FloatArray | None:
        """The next action of the chunk, or None while the policy has not decided yet."""
        if self._chunk:
            return self._chunk.pop(0)
        if self._asked is None:
            self._asked = self._thinking.submit(self.actor.decide, frame, self.task.instruction, self._previous)
        if not self.clock.wait(self._asked, deadline - self.clock.now()):
            return None
        decision = self._asked.result()
        self._asked = None
        actions = np.asarray(decision.actions, dtype=np.float32)
        if actions.ndim != 2 or actions.shape[1] != ACTION_DIM or not len(actions):
            raise WovrError(f"the policy decided {actions.shape}; a chunk is (C, {ACTION_DIM})")
        self.tape.decide(decision.tokens, decision.log_probs)
        self._chunk = list(actions)
        return self._chunk.pop(0)

    def _start_again(self) -> None:
        """The guard stops an arm that was left on hold for long; for these reasons alone it may just go on."""
        state = self._state
        if state is not None and state.motion is Motion.STOPPED and state.stop_reason in _HARMLESS:
            self.robot.start()

    def _forget(self) -> None:
        self._chunk = []
        if self._asked is not None and self._asked.done():
            self._asked = None

    def _send(self, action: FloatArray, seq: int, t_sent: float) -> None:
        scale = np.repeat([self.config.translation, self.config.rotation], 3)
        delta = action[:6].astype(np.float64) * scale
        sent = self.robot.send_delta(delta[:3].tolist(), delta[3:].tolist(), seq, t_sent)
        if sent.motion is not Motion.RUNNING:
            # Refused: the chunk was about a motion that did not happen.
            self.tape.hold(self._still(), t_sent, *sent.clipped_by)
            self._forget()
            return
        self._grip(bool(action[6] > 0))
        executed = action.copy()
        if sent.clipped_by:
            executed[:6] = sent.delta / scale
        executed[6] = 1.0 if self._closed else -1.0
        self.tape.act(executed, t_sent, sent.clipped_by)
        self._previous = executed
        self._executed += 1
        self._waiting_since = None

    def _grip(self, close: bool) -> None:
        """Only a change is told, in the gripper's own thread: nobody waits for its fingers."""
        if close == self._closed:
            return
        self._closed = close
        speed, force = self.config.gripper_speed, self.config.gripper_force
        if close:
            told = self.robot.gripper.grasp(0.0, speed, force)
        else:
            told = self.robot.gripper.move(GRIPPER_OPEN, speed)
        told.add_done_callback(_note_gripper)

    def _still(self) -> FloatArray:
        still = NULL_ACTION.copy()
        still[6] = 1.0 if self._closed else -1.0
        return still

    def _given_up(self, now: float) -> bool:
        if self.tape.last_was_hold:
            self._waiting_since = now if self._waiting_since is None else self._waiting_since
        return self._waiting_since is not None and now - self._waiting_since > self.config.absent_after


def _note_gripper(told: Future[bool]) -> None:
    if not told.cancelled() and told.exception() is not None:
        log.warning("gripper: %s", told.exception())
