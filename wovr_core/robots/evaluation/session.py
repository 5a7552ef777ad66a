"""Runs the trials of a plan, one by one; whatever ends it, what is on the disk says what happened.

The order on the disk: "begin" - the attempt's steps as they come - the episode - the film - "end". So after a crash at
any point an attempt without an end is one that was interrupted, and the next session records it as that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wovr_core.data.episode_files import write_episode
from wovr_core.errors import Interrupted
from wovr_core.files import explain_disk_errors, sha256_file
from wovr_core.robots.base import CameraProtocol, Robot
from wovr_core.robots.evaluation.evaluation import Evaluation, attempt_name
from wovr_core.robots.evaluation.overlay import Overlay, overlay
from wovr_core.robots.evaluation.plan import ScheduledTrial
from wovr_core.robots.evaluation.video import write_video
from wovr_core.robots.pictures import to_frame, upright
from wovr_core.robots.runner import Actor, RunnerClock, TrialRun, Wishes, World, run_trial
from wovr_core.types import Frames


class Operator(Protocol):
    """The person at the robot, or who stands in for one."""

    @property
    def name(self) -> str: ...

    def prepare(self, trial: ScheduledTrial, wanted: Frames, look: Callable[[], Overlay]) -> Overlay | None:
        """Set up the scene and acknowledge it; None: not now, end the session.

        Args:
            wanted: (H, W, 3) upright picture of the initial condition.
            look: the picture laid over what the camera sees at the moment.
        """
        ...

    def judge(self, evaluation: Evaluation, trial: ScheduledTrial, run: TrialRun) -> None:
        """Label a trial that finished, now or later."""
        ...


@dataclass(frozen=True)
class Station:
    """Where trials are run."""

    robot: Robot
    camera: CameraProtocol
    actors: Mapping[str, Actor]
    """By contestant."""
    operator: Operator
    clock: RunnerClock | None = None
    world: World | None = None
    wishes: Wishes | None = None


def run_session(
    evaluation: Evaluation, station: Station, limit: int | None = None, told: Callable[[str], None] = lambda line: None
) -> int:
    """Run trials until the schedule's end, the operator's no, a sequential stop or `limit`; returns how many ran.

    Args:
        told: is given a line about each trial; none names a policy.

    Raises:
        Interrupted: Ctrl-C; the attempt is recorded as interrupted. WovrError: a full disk, another session.
    """
    done = 0
    with evaluation.running():
        while limit is None or done < limit:
            if evaluation.stop_if_decided():
                told("the sequential test has decided: no further trial")
                break
            trial = evaluation.next_trial()
            if trial is None:
                break
            run = run_one(evaluation, station, trial)
            if run is None:
                break
            done += 1
            why = f" ({run.why})" if run.why else ""
            told(f"trial {trial.number} of {len(evaluation.plan.schedule)}: {run.how.replace('_', ' ')}{why}")
            if run.how == "interrupted":
                raise Interrupted("stopped in a trial, which is recorded as interrupted; the same command goes on")
            if run.how == "finished":
                station.operator.judge(evaluation, trial, run)
        evaluation.stop_if_decided()
    return done


def run_one(evaluation: Evaluation, station: Station, trial: ScheduledTrial) -> TrialRun | None:
    """Reset, run and record one trial; None when the operator would not."""
    wanted = evaluation.initial_picture(trial.condition)
    recipe = evaluation.plan.protocol.runner.picture

    def look() -> Overlay:
        return overlay(wanted, upright(to_frame(station.camera.read().rgb, recipe)))

    seen = station.operator.prepare(trial, wanted, look)
    if seen is None:
        return None
    evaluation.reset_done(trial.number, station.operator.name, seen.similarity)
    attempt = evaluation.begin(trial.number, station.operator.name)
    name = attempt_name(trial.number, attempt)
    with _Journal(evaluation, name) as journal:
        wishes = station.wishes or Wishes()
        run = run_trial(
            station.robot,
            station.camera,
            station.actors[evaluation.policy_of(trial.number)],
            evaluation.plan.task,
            trial.seed,
            evaluation.plan.protocol.runner,
            episode_id=name,
            source="blinded",
            clock=station.clock,
            wishes=Wishes(wishes.dead_man, wishes.stop, journal.noting(wishes.watch)),
            world=station.world,
        )
        evaluation.end(trial.number, {"attempt": attempt, **_saved(evaluation, name, run, station)})
    return run


def _saved(evaluation: Evaluation, name: str, run: TrialRun, station: Station) -> dict[str, Any]:
    body: dict[str, Any] = {
        "how": run.how, "why": run.why[:2000], "late_steps": run.late_steps, "held_steps": run.held_steps,
        "clips": run.clips, "seconds": run.seconds,
    }  # fmt: skip
    if run.episode is not None:
        path = write_episode(evaluation.folder / "episodes", run.episode)
        video = evaluation.folder / "videos" / f"{name}.mp4"
        fps = station.robot.limits.rate
        body |= {
            "steps": run.episode.length,
            "episode": sha256_file(path),
            "video": write_video(video, upright(run.episode.frames), fps),
        }
        if station.world is not None:
            body["truth"] = run.episode.succeeded
    return body


class _Journal:
    """A line per step of a running attempt, so that a killed one can be told from one that never moved."""

    def __init__(self, evaluation: Evaluation, name: str) -> None:
        self._path = evaluation.folder / "steps" / f"{name}.jsonl"

    def __enter__(self) -> _Journal:
        with explain_disk_errors(self._path):
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open("w")
        return self

    def noting(self, watch: Callable[[Frames, int], None]) -> Callable[[Frames, int], None]:
        def note(frame: Frames, step: int) -> None:
            self._file.write(json.dumps({"step": step}) + "\n")
            self._file.flush()
            watch(frame, step)

        return note

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._path.unlink(missing_ok=True)  # the episode says it all
