"""The simulated lab: LIBERO to the bit behind a robot's interface, and the whole protocol on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wovr_core.data.episode_files import read_episode
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.robots.base import CameraError, Limits, Motion, NotAcknowledgedError, ReflexError, RobotError
from wovr_core.robots.evaluation.evaluation import Evaluation, ProtocolError
from wovr_core.robots.evaluation.operators import LabOperator, initial_pictures
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.robots.evaluation.report_data import build_report
from wovr_core.robots.evaluation.session import Station, run_session
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.pictures import PictureRecipe
from wovr_core.robots.runner import Decision, RunnerConfig, run_trial

pytestmark = pytest.mark.robot

ENV = LiberoConfig(suite="libero_object", size=32, view="workspace")
PICTURE = PictureRecipe(size=32)


class Expert:
    """The scripted demonstrator as a policy of one action a chunk; of no use when told to be idle."""

    def __init__(self, lab: SimulatedLab, idle: bool = False) -> None:
        self._lab, self._idle = lab, idle

    def begin(self, seed: int) -> None:
        pass

    def decide(self, frame: Any, instruction: str, previous: Any) -> Decision:
        from wovr_core.envs.expert.composition import expert_action

        action = expert_action(self._lab.env).astype(np.float32)
        return Decision(np.zeros((1, 7), np.float32) if self._idle else action[None])


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(ENV, 0)
    yield env
    env.close()


@pytest.fixture
def lab(env: LiberoEnv) -> Iterator[SimulatedLab]:
    with SimulatedLab(LabConfig(ENV), env) as lab:
        lab.arrange(3)
        yield lab


def test_a_trial_in_the_lab_is_libero_to_the_bit(lab: SimulatedLab, env: LiberoEnv) -> None:
    config = RunnerConfig(max_steps=120, picture=PICTURE)
    run = run_trial(lab, lab.camera, Expert(lab), lab.task, 0, config, episode_id="t", source="expert",
                    clock=lab.clock, world=lab)  # fmt: skip
    assert (run.how, run.clips) == ("finished", {})
    episode = run.episode
    assert episode is not None
    assert episode.succeeded
    assert episode.sim_states is not None
    first = env.reset_to_initial(3)
    np.testing.assert_array_equal(first, episode.frames[0])
    for step, action in enumerate(episode.actions):
        result = env.step(action)
        assert result.success == episode.success[step + 1]
    np.testing.assert_array_equal(result.frame, episode.frames[-1])
    np.testing.assert_array_equal(env.sim_state(), episode.sim_states[-1])
    # The hand went where the states say, and the gripper closed on the object and let it go.
    widths = episode.streams["robot.gripper"][:, 0]
    assert widths[0] > 0.07
    assert widths.min() < 0.07
    moved = np.linalg.norm(np.diff(episode.streams["robot.tcp_pose"][:, :3], axis=0), axis=1)
    twists = np.linalg.norm(episode.streams["robot.tcp_twist"][:, :3], axis=1)
    np.testing.assert_allclose(moved.sum(), twists[1:].sum() * 0.05, rtol=0.1)


def test_the_lab_is_as_strict_as_a_robot(lab: SimulatedLab) -> None:
    nothing, up = [0.0] * 3, [0.0, 0.0, 0.02]
    assert lab.send_delta(up, nothing, 1, lab.clock.now()).clipped_by == ("not_running",)
    lab.start()
    assert lab.send_delta(up, nothing, 1, lab.clock.now()).clipped_by == ("dead_man",)
    lab.dead_man(True)
    assert lab.send_delta(up, nothing, 2, lab.clock.now()).clipped_by == ()
    assert lab.send_delta(up, nothing, 2, lab.clock.now()).clipped_by == ("out_of_order",)
    assert lab.send_delta(up, nothing, 3, lab.clock.now() - 1).clipped_by == ("stale",)
    assert lab.send_delta([np.nan, 0, 0], nothing, 4, lab.clock.now()).clipped_by[0] == "not_finite"
    far = lab.send_delta([0.5, 0.0, 0.0], nothing, 5, lab.clock.now())
    assert "step_translation" in far.clipped_by
    assert np.linalg.norm(far.delta[:3]) <= lab.limits.max_step
    height = lab.get_state().position[2]
    for seq in range(6, 16):
        lab.dead_man(True)
        assert lab.send_delta(up, nothing, seq, lab.clock.now()).motion is Motion.RUNNING
        lab.clock.sleep(0.05)
    assert lab.get_state().position[2] > height + 0.02
    lab.clock.sleep(0.2)  # nobody sends anything
    assert lab.get_state().motion is Motion.HOLDING
    lab.clock.sleep(0.5)
    assert lab.send_delta(up, nothing, 20, lab.clock.now()).clipped_by == ("dead_man",)
    lab.inject_reflex()
    with pytest.raises(ReflexError):
        lab.send_delta(up, nothing, 21, lab.clock.now())
    with pytest.raises(NotAcknowledgedError):
        lab.recover()
    lab.recover(operator_ack=True)
    lab.start()
    with pytest.raises(RobotError, match="20 Hz"):
        lab.start(limits=Limits(rate=10))
    lab.camera.unplugged = True
    with pytest.raises(CameraError):
        lab.camera.read()


def plan(folder: Path, lab: SimulatedLab, trials: int, **protocol: Any) -> Evaluation:
    write_plan(
        folder, folder.name, robot=lab.name, task=lab.task, simulated=True,
        protocol=ProtocolConfig(trials=trials, runner=RunnerConfig(max_steps=90, picture=PICTURE), **protocol),
        contestants=[Contestant("expert", "1"), Contestant("idler", "1")],
        pictures=initial_pictures(lab, PICTURE, range(4)),
    )  # fmt: skip
    return Evaluation(folder)


def station(lab: SimulatedLab) -> Station:
    actors = {"expert": Expert(lab), "idler": Expert(lab, idle=True)}
    return Station(lab, lab.camera, actors, LabOperator(lab), lab.clock, lab)


def test_two_policies_through_the_whole_protocol(lab: SimulatedLab, tmp_path: Path) -> None:
    """The issue's evaluation at reduced size: 2 policies x 2 trials, then labels from the films, then the report."""
    evaluation = plan(tmp_path / "small", lab, trials=2)
    lines: list[str] = []
    assert run_session(evaluation, station(lab), limit=2, told=lines.append) == 2
    assert run_session(Evaluation(evaluation.folder), station(lab), told=lines.append) == 2  # goes on
    assert not any("expert" in line or "idler" in line for line in lines)
    standing = evaluation.standing()
    assert all(trial.resets[-1]["similarity"] > 0.999 for trial in standing.trials)  # placed to the bit
    with pytest.raises(ProtocolError, match="no second label"):
        evaluation.unblind("ann")
    for trial in standing.trials:
        evaluation.label(trial.scheduled.number, "ann", bool(trial.success), role="video")
    evaluation.unblind("ann")
    report = build_report(evaluation)
    counts = {p["name"]: (p["successes"], p["trials"]) for p in report["policies"]}
    assert counts == {"expert": (2, 2), "idler": (0, 2)}
    assert report["label_sources"] == ["simulator"]
    for trial in report["trials"]:
        episode = read_episode(evaluation.folder / "episodes" / f"trial-{trial['number']:03d}-1.safetensors")
        assert episode.source == "blinded"
        assert episode.succeeded == (trial["policy"] == "expert")
        assert (evaluation.folder / trial["film"]).stat().st_size > 500


@pytest.mark.fault
def test_a_reflex_in_a_trial_is_a_safety_abort_and_the_next_trial_runs(lab: SimulatedLab, tmp_path: Path) -> None:
    evaluation = plan(tmp_path / "reflex", lab, trials=1, second_labels=0.0)
    made = station(lab)

    class Clumsy(Expert):
        def decide(self, frame: Any, instruction: str, previous: Any) -> Decision:
            if lab.get_state().position[2] < 0.2:
                lab.inject_reflex()
            return super().decide(frame, instruction, previous)

    made.actors["expert"] = Clumsy(lab)  # type: ignore[index]
    run_session(evaluation, made)
    hows = {evaluation.policy_of(t.scheduled.number): t.how for t in evaluation.standing().trials}
    assert hows == {"expert": "safety_abort", "idler": "finished"}
    evaluation.unblind("op")
    counts = {p["name"]: (p["successes"], p["trials"]) for p in build_report(evaluation)["policies"]}
    assert counts == {"expert": (0, 1), "idler": (0, 1)}


_VICTIM = """
import sys
from pathlib import Path
import numpy as np
from wovr_core.envs.libero import LiberoConfig
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.operators import LabOperator
from wovr_core.robots.evaluation.session import Station, run_session
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.runner import Decision

class Idle:
    def begin(self, seed): pass
    def decide(self, frame, instruction, previous): return Decision(np.zeros((1, 7), np.float32))

config = LabConfig(LiberoConfig(suite="libero_object", size=32, view="workspace"), realtime=True)
with SimulatedLab(config) as lab:
    station = Station(lab, lab.camera, {"expert": Idle(), "idler": Idle()}, LabOperator(lab), lab.clock, lab)
    run_session(Evaluation(Path(sys.argv[1])), station)
"""


@pytest.mark.fault
def test_killed_in_a_trial_it_is_recorded_as_interrupted_and_the_schedule_goes_on(
    lab: SimulatedLab, tmp_path: Path
) -> None:
    evaluation = plan(tmp_path / "killed", lab, trials=1, second_labels=0.0)
    steps = evaluation.folder / "steps" / "trial-001-1.jsonl"
    victim = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_VICTIM), str(evaluation.folder)])
    try:
        end = time.monotonic() + 120
        while not (steps.exists() and steps.read_bytes().count(b"\n") >= 5):
            assert victim.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end, "no trial began"
            time.sleep(0.02)
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait(30)
    assert evaluation.trial(1).stage == "running"
    run_session(evaluation, station(lab))
    first = evaluation.trial(1)
    assert [a["how"] for a in first.attempts] == ["interrupted", "finished"]
    assert first.attempts[0]["steps"] >= 5
    evaluation.unblind("op")
    report = build_report(evaluation)
    assert report["void_attempts"] == [{"trial": 1, "attempt": 1, "how": "interrupted", "why": "the process ended"}]
    assert {p["name"]: p["successes"] for p in report["policies"]} == {"expert": 1, "idler": 0}
