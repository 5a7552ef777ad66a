"""The runner against an arm made of air: chunks, late policies, clips, keys, faults, and what is recorded of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wovr_core.data.episode_files import read_episode, write_episode
from wovr_core.errors import WovrError
from wovr_core.robots.base import CameraError, ReflexError, SafetyStopError
from wovr_core.robots.pictures import PictureRecipe, to_frame, upright


def test_chunks_follow_each_other_on_the_newest_frame(rig: Any) -> None:
    run = rig.run(max_steps=16)
    assert (run.how, run.why, run.late_steps, run.held_steps) == ("finished", "", 0, 0)
    episode = run.episode
    assert episode.frames.shape == (17, 32, 32, 3)
    assert rig.actor.seeds == [7]
    assert len(rig.actor.seen) == 2
    np.testing.assert_array_equal(rig.actor.seen[1][0], episode.frames[8])
    np.testing.assert_array_equal(rig.actor.seen[1][1], episode.actions[7])
    np.testing.assert_allclose(episode.actions[:, 0], 0.1)
    np.testing.assert_allclose(rig.arm.position[0], 0.5 + 16 * 0.1 * 0.05)
    assert [c for c in rig.arm.calls if c in ("open", "close")] == ["close", "open"] * 2  # changes alone are told
    assert episode.action_tokens.shape == (2, 8, 7)
    times = episode.streams["robot.time"][:, 1]
    np.testing.assert_allclose(np.diff(times), 0.05, atol=1e-9)
    assert rig.arm.calls[-1] == "stop"


def test_an_episode_survives_its_file(rig: Any, tmp_path: Path) -> None:
    episode = rig.run(max_steps=8).episode
    back = read_episode(write_episode(tmp_path, episode))
    np.testing.assert_array_equal(back.frames, episode.frames)
    assert set(back.streams) == set(episode.streams)
    np.testing.assert_array_equal(back.streams["robot.tcp_pose"], episode.streams["robot.tcp_pose"])
    np.testing.assert_array_equal(back.streams["robot.sent"], episode.streams["robot.sent"])
    assert json.loads(back.info["limits"])["max_speed"] == 0.25


def test_a_late_policy_means_hold_and_is_recorded(rig: Any) -> None:
    rig.clock.thinking = [0.0, 0.12]  # the second decision takes more than two periods
    run = rig.run(max_steps=16)
    assert run.how == "finished"
    assert run.late_steps == 2
    episode = run.episode
    assert episode.length == 18
    np.testing.assert_array_equal(episode.streams["robot.hold"][:, 0], [0] * 8 + [1, 1] + [0] * 9)
    np.testing.assert_array_equal(episode.actions[8:10, :6], 0)
    assert rig.arm.calls.count("hold") == 2
    assert episode.action_tokens is None  # tokens no longer stand for steps
    assert run.clips == {"late": 2}


def test_what_is_recorded_is_what_was_sent_after_clipping(rig: Any) -> None:
    rig.arm.wall = 0.5125
    run = rig.run(max_steps=8)
    np.testing.assert_allclose(run.episode.actions[:, 0], [0.1, 0.1, 0.05, 0, 0, 0, 0, 0], atol=1e-6)
    assert run.clips == {"workspace": 6}
    assert json.loads(run.episode.info["clipped_by"])[0] == [2, ["workspace"]]


def test_a_released_key_holds_and_the_policy_decides_anew(rig: Any) -> None:
    pressed = iter([True] * 4 + [False] * 3 + [True] * 100)
    run = rig.run(max_steps=12, dead_man=lambda: next(pressed))
    assert run.how == "finished"
    assert run.held_steps == 3
    hold = run.episode.streams["robot.hold"][:, 0]
    np.testing.assert_array_equal(np.flatnonzero(hold), [4, 5, 6])
    np.testing.assert_array_equal(rig.actor.seen[1][0], run.episode.frames[7])


def test_nobody_at_the_key_ends_the_trial(rig: Any) -> None:
    run = rig.run(dead_man=lambda: False)
    assert run.how == "operator_stop"
    assert "dead-man" in run.why
    assert run.episode.length == pytest.approx(2.0 / 0.05, abs=2)
    assert rig.arm.sent == 0


def test_the_operator_ends_a_trial(rig: Any) -> None:
    run = rig.run(max_steps=100, stop=lambda: rig.arm.sent >= 5)
    assert (run.how, run.episode.length) == ("operator_stop", 5)


@pytest.mark.fault
@pytest.mark.parametrize("fault", [ReflexError("contact"), SafetyStopError("too much force", "force")])
def test_a_reflex_or_a_safety_stop_is_a_safety_abort(rig: Any, fault: Exception) -> None:
    rig.arm.faults = {6: fault}
    run = rig.run()
    assert run.how == "safety_abort"
    assert str(fault) in run.why
    assert run.episode.length == 5
    assert rig.arm.sent == 6  # no retry
    assert rig.arm.calls.count("start") == 1
    assert rig.arm.calls[-1] == "stop"


@pytest.mark.fault
def test_an_unplugged_camera_is_a_fault_and_the_arm_stops(rig: Any) -> None:
    rig.camera.faults = {4: CameraError("unplugged")}
    run = rig.run()
    assert run.how == "fault"
    assert "unplugged" in run.why
    assert run.episode.length == 2
    assert len(run.episode.frames) == 3
    assert rig.arm.calls[-1] == "stop"
    rig.camera.faults = {5: CameraError("unplugged")}
    assert rig.run().episode is None  # before the first frame


@pytest.mark.fault
def test_a_failing_policy_is_a_fault(rig: Any) -> None:
    rig.actor.failure = RuntimeError("out of memory")
    run = rig.run()
    assert (run.how, run.why) == ("fault", "RuntimeError: out of memory")
    rig.actor.failure = KeyboardInterrupt()
    assert rig.run().how == "interrupted"


def test_a_cameras_picture_becomes_a_frame() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32, 0] = 255  # red on the camera's left
    picture[:24, :, 1] = 255  # green above
    frame = to_frame(picture, PictureRecipe(size=48))
    assert frame.shape == (48, 48, 3)
    assert frame[40, 40].tolist() == [255, 0, 0]  # left and right are swapped, above stays above
    assert frame[5, 5].tolist() == [0, 255, 0]
    assert upright(frame)[40, 5].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(to_frame(np.rot90(picture, 2), PictureRecipe(48, turn=180)), frame)
    np.testing.assert_array_equal(to_frame(np.rot90(picture), PictureRecipe(48, turn=90)), frame)
    part = to_frame(picture, PictureRecipe(size=24, left=0.0, top=0.5, part=0.5))
    assert part.shape == (24, 24, 3)
    assert part[:, :].reshape(-1, 3)[:, 1].max() == 0  # the lower half has no green
    assert to_frame(picture, PictureRecipe(size=24)).shape == (24, 24, 3)


def test_bad_recipes_and_pictures_are_refused() -> None:
    with pytest.raises(WovrError, match="0, 90, 180 or 270"):
        PictureRecipe(turn=45)
    with pytest.raises(WovrError, match="does not lie"):
        to_frame(np.zeros((48, 48, 3), np.uint8), PictureRecipe(left=0.6, part=0.5))
    with pytest.raises(WovrError, match="u8"):
        to_frame(np.zeros((48, 48, 3), np.float32), PictureRecipe())
