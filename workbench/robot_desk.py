"""One robot for one person at a time, as a page uses it: arm, see, hold the key, acknowledge, label.

Everything that moves happens in one thread of the desk's own, which runs an evaluation's session (see
`robots.evaluation.session`). Whoever armed it holds a lease: without a sign of life it ends, and with it the session.
The dead-man key is a second, shorter lease: each word that the key is down counts for a fraction of a second, and
silence means that it is up. Neither is a safety function: that is the arm's hardware stop, and the guard's process.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from workbench.robot_desk_parts import DeskConfig, DeskError, OpenStation, Scene, View
from workbench.server.roles import Role, User
from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.overlay import Overlay
from wovr_core.robots.evaluation.plan import ScheduledTrial
from wovr_core.robots.evaluation.session import run_session
from wovr_core.robots.runner import TrialRun, Wishes
from wovr_core.types import Frames

__all__ = ["DeskConfig", "DeskError", "OpenStation", "RobotDesk", "Scene", "View"]
log = logging.getLogger("wovr.robot.desk")


class RobotDesk:
    """Thread-safe. `make_station` is called in the desk's thread, with the evaluation that was armed."""

    def __init__(
        self,
        robot: str,
        make_station: Callable[[Evaluation], OpenStation],
        config: DeskConfig | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """robot: its name, as the server was started with."""
        self.robot = robot
        self._make = make_station
        self._config = config or DeskConfig()
        self._now = now
        self._guard = threading.Condition()
        self._view = View()
        self._token = ""
        self._alive_until = 0.0
        self._key_until = 0.0
        self._ready = self._ending = self._stop_trial = False
        self._answered = False
        self._live: Frames | None = None
        self._laid_over: Frames | None = None
        self._thread: threading.Thread | None = None

    # -- what a page asks

    def view(self) -> View:
        with self._guard:
            return replace(self._view, key=self._pressed())

    def live(self) -> Frames | None:
        """(H, W, 3) upright, the newest picture; None before."""
        return self._live

    def laid_over(self) -> Frames | None:
        """(H, W, 3) the reset overlay; None when no reset is awaited."""
        return self._laid_over

    def arm(self, evaluation: Evaluation, user: User) -> str:
        """Take the robot for an evaluation; returns the lease's token.

        Raises:
            ForbiddenError: the user's role. DeskError: somebody has it.
        """
        user.require(Role.ROBOT, "arm a robot")
        with self._guard:
            if self._thread is not None and self._thread.is_alive():
                raise DeskError(f"{self._view.holder} has the robot: {self._view.evaluation}, {self._view.phase}")
            self._token = secrets.token_urlsafe(16)
            self._ready = self._ending = self._stop_trial = self._answered = False
            self._key_until = 0.0
            self._alive_until = self._now() + 60.0  # connecting may take a while
            self._view = View(
                "connecting", evaluation.plan.name, trials=len(evaluation.plan.schedule), holder=user.name
            )
            self._live = self._laid_over = None
            self._thread = threading.Thread(target=self._run, args=(evaluation,), name="robot desk", daemon=True)
            self._thread.start()
            return self._token

    def alive(self, token: str, user: User, key: bool) -> View:
        """A word from whoever armed it, some times a second: still here, and whether the key is down."""
        with self._guard:
            self._check(token, user)
            now = self._now()
            self._alive_until = max(self._alive_until, now + self._config.lease)
            self._key_until = now + self._config.key if key else 0.0
            self._guard.notify_all()
        return self.view()

    def ready(self, token: str, user: User) -> None:
        """The scene is as it should be: begin. Raises DeskError unless the key is down."""
        with self._guard:
            self._check(token, user)
            if self._view.phase != "reset":
                raise DeskError("no reset is awaited")
            if not self._pressed():
                raise DeskError("hold the dead-man key while you begin")
            self._ready = True
            self._guard.notify_all()

    def stop_trial(self, token: str, user: User) -> None:
        """End the running trial; it counts as a failure."""
        with self._guard:
            self._check(token, user)
            self._stop_trial = True

    def labelled(self, token: str, user: User) -> None:
        """The trial was labelled, or is to be labelled later: go on."""
        with self._guard:
            self._check(token, user)
            self._answered = True
            self._guard.notify_all()

    def disarm(self, token: str, user: User) -> None:
        """Let go: a running trial is ended, the session too."""
        with self._guard:
            self._check(token, user)
            self._finish()

    def close(self, timeout: float = 30.0) -> None:
        """End whatever runs and wait for it; for the server's end."""
        with self._guard:
            self._finish()
        if self._thread is not None:
            self._thread.join(timeout)

    # -- the desk's thread

    def _run(self, evaluation: Evaluation) -> None:
        error = ""
        try:
            with self._make(evaluation) as opened:
                person = _PersonAtPage(self, opened.scene)
                station = replace(opened.station, operator=person, wishes=self._wishes())
                with self._guard:
                    self._alive_until = max(self._alive_until, self._now() + self._config.lease)
                run_session(evaluation, station, told=self._told)
        except WovrError as failure:
            error = str(failure)
        except Exception as failure:  # said on the page: nobody sees this thread's traceback
            log.exception("the robot's session failed")
            error = f"{type(failure).__name__}: {failure}"
        with self._guard:
            self._laid_over = None
            self._token = ""
            self._view = replace(self._view, phase="ended", error=error, similarity=None)
            self._guard.notify_all()

    def _wishes(self) -> Wishes:
        return Wishes(dead_man=self._key_down, stop=self._to_stop, watch=self._watched)

    def _key_down(self) -> bool:
        with self._guard:
            return self._pressed()

    def _to_stop(self) -> bool:
        with self._guard:
            return self._stop_trial or self._over()

    def _watched(self, frame: Frames, step: int) -> None:
        from wovr_core.robots.pictures import upright

        picture = upright(frame)
        with self._guard:
            self._live = picture
            self._view = replace(self._view, step=step, picture=self._view.picture + 1)

    def _await_reset(self, trial: ScheduledTrial, look: Callable[[], Overlay]) -> Overlay | None:
        with self._guard:
            self._ready = False
        while True:
            seen = look()
            with self._guard:
                self._laid_over = seen.picture
                self._view = replace(
                    self._view, phase="reset", trial=trial.number, condition=trial.condition, step=0,
                    similarity=seen.similarity, picture=self._view.picture + 1,
                )  # fmt: skip
                if self._over():
                    return None
                if self._ready:
                    self._ready = self._stop_trial = False
                    self._laid_over = None
                    self._view = replace(self._view, phase="running")
                    return seen
                self._guard.wait(self._config.look_every)

    def _await_label(self, run: TrialRun) -> None:
        with self._guard:
            self._answered = False
            self._view = replace(self._view, phase="label")
            while not (self._answered or self._over()):
                self._guard.wait(0.5)

    def _told(self, line: str) -> None:
        with self._guard:
            self._view = replace(self._view, last=line)

    # -- under the guard

    def _pressed(self) -> bool:
        return self._now() < self._key_until and not self._over()

    def _over(self) -> bool:
        return self._ending or self._now() > self._alive_until

    def _finish(self) -> None:
        self._ending = True
        self._key_until = 0.0
        self._guard.notify_all()

    def _check(self, token: str, user: User) -> None:
        user.require(Role.ROBOT, "move a robot")
        if not self._token or not secrets.compare_digest(token.encode(), self._token.encode()):
            raise DeskError("you do not have the robot (any more): arm it again")
        if self._over():
            raise DeskError("the lease ran out, or the session was ended: arm the robot again")


class _PersonAtPage:
    """The operator of a session: what is asked of a person waits for the page."""

    def __init__(self, desk: RobotDesk, scene: Scene) -> None:
        self._desk, self._scene = desk, scene
        self.name = desk.view().holder

    def prepare(self, trial: ScheduledTrial, wanted: Frames, look: Callable[[], Overlay]) -> Overlay | None:
        if self._scene.prepare(trial, wanted, look) is None:
            return None
        seen = self._desk._await_reset(trial, look)
        if seen is not None:
            self._scene.acknowledged()
        return seen

    def judge(self, evaluation: Evaluation, trial: ScheduledTrial, run: TrialRun) -> None:
        self._desk._await_label(run)
