"""LIBERO as an environment: names, seeded resets, pictures, the predicate, and what can be read off a scene."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs import libero_suites
from wovr_core.envs.libero import EVALUATION_STATES, LiberoConfig, LiberoEnv
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import NULL_ACTION

sys.path.insert(0, str(Path(__file__).parent))
import libero_play as play

ROOT = Path(__file__).parents[3]
SOUP = "alphabet_soup_1"


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(LiberoConfig("libero_object"), 0)
    yield env
    env.close()


@pytest.fixture(scope="module")
def goal_env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(LiberoConfig("libero_goal", size=48), 4)
    yield env
    env.close()


def test_suites_and_tasks() -> None:
    counts = {suite: len(libero_suites.tasks(suite)) for suite in libero_suites.SUITES}
    assert counts == {
        "libero_spatial": 10, "libero_object": 10, "libero_goal": 10, "libero_10": 10, "libero_90": 90,
    }  # fmt: skip
    first = libero_suites.tasks("libero_object")[0]
    assert (first.suite, first.task) == ("libero_object", 0)
    assert first.instruction == "pick up the alphabet soup and place it in the basket"
    assert len({task.instruction for task in libero_suites.tasks("libero_goal")}) == 10


def test_unknown_names_are_refused_before_anything_is_built() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'libero_object'"):
        LiberoConfig("libero_objects")
    with pytest.raises(UnknownNameError, match="suite"):
        libero_suites.tasks("meta_world")
    with pytest.raises(UnknownNameError, match="task of libero_object '10'"):
        LiberoEnv(LiberoConfig("libero_object"), 10)
    with pytest.raises(UnknownNameError, match="profile"):
        LiberoConfig(profile="quick")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="view"):
        LiberoConfig(view="nowhere")
    with pytest.raises(WovrError, match="16 to 1024"):
        LiberoConfig(size=8)
    with pytest.raises(WovrError, match="negative"):
        LiberoConfig(settle_steps=-1)
    with pytest.raises(WovrError, match=r"0 to 0\.2"):
        LiberoConfig(joint_noise=1.0)


def test_reset_is_a_function_of_the_seed_alone(env: LiberoEnv) -> None:
    first = env.reset(7)
    state = env.sim_state()
    play.record(env, play.random_actions(1, 8))  # leaves the gripper half closed and the controller elsewhere
    env.reset(8)
    assert not np.array_equal(env.sim_state(), state)
    for _ in range(2):
        env.advance(np.array([0.3, 0.1, -1, 0.5, 0, 0, 1]))
    assert np.array_equal(env.reset(7), first)
    assert np.array_equal(env.sim_state(), state)
    env.reset_to_initial(3)
    env.reset(2**70 + 7)  # seeds are not cut to 32 bits
    assert not np.array_equal(env.sim_state(), state)


def test_training_starts_spread_like_the_evaluation_states(env: LiberoEnv) -> None:
    """Objects and arm: LIBERO places the soup always in one spot (its region is as large as itself)."""
    spread = {}
    for go in (env.reset, env.reset_to_initial):
        poses, joints = [], []
        for index in range(12):
            go(index)
            poses.append(np.stack([env.poses()[name][:2] for name in ("basket_1", "milk_1", SOUP)]))
            joints.append(env.data.qpos[env._scene.arm].copy())
        spread[go.__name__] = np.std(poses, axis=0), np.std(joints, axis=0)
    (objects, arm), (real_objects, real_arm) = spread["reset"], spread["reset_to_initial"]
    assert (objects[:2] > 1e-3).all()
    assert np.allclose(objects[2], 0, atol=1e-4)
    assert np.allclose(real_objects[2], 0, atol=1e-4)
    assert arm.mean() == pytest.approx(real_arm.mean(), rel=0.5)
    assert objects[:2].mean() == pytest.approx(real_objects[:2].mean(), rel=0.5)


def test_nobody_outside_notices_the_draws(env: LiberoEnv) -> None:
    np.random.seed(3)
    random.seed(3)
    before, before_python = np.random.get_state(), random.getstate()
    env.reset(1)
    env.reset_to_initial(1)
    after = np.random.get_state()
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert random.getstate() == before_python


def test_after_a_reset_all_is_still_and_the_gripper_is_open(env: LiberoEnv) -> None:
    for go in (lambda: env.reset(11), lambda: env.reset_to_initial(11)):
        go()
        assert np.abs(env.data.qvel[:9]).max() < 0.1  # the arm's joints still turn to their first goal
        assert np.abs(env.data.qvel[9:]).max() < 1e-3
        assert env.gripper_width() > 0.075
        assert not env.success
        assert env.held_object() is None
        assert env.touched_objects() == frozenset()


def test_evaluation_states_are_libero_s_own(env: LiberoEnv) -> None:
    stored = libero_suites.evaluation_states("libero_object", 0)
    assert stored.shape == (EVALUATION_STATES, 1 + env.model.nq + env.model.nv)
    body = env.model.joint("alphabet_soup_1_joint0").qposadr[0]
    for index in (0, 17, 49):
        frame = env.reset_to_initial(index)
        assert np.allclose(env.poses()[SOUP][:2], stored[index, 1 + body : 3 + body], atol=0.01)
        state = env.sim_state()
        env.reset(index)
        assert np.array_equal(env.reset_to_initial(index), frame)
        assert np.array_equal(env.sim_state(), state)
    for index in (-1, 50):
        with pytest.raises(WovrError, match="0 to 49"):
            env.reset_to_initial(index)


def test_frames_are_the_raw_render_turned_by_180_degrees(env: LiberoEnv) -> None:
    """The basket is found where the camera's geometry puts it, with left and right swapped."""
    frame = env.reset(2)
    assert frame.shape == (64, 64, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    state = env.sim_state()
    model, data = env.model, env.data
    camera = model.camera(env.config.camera).id
    joint = model.joint("basket_1_joint0").qposadr[0]
    seen = data.body("basket_1_main").xpos - data.cam_xpos[camera]
    right, up, back = data.cam_xmat[camera].reshape(3, 3).T @ seen
    scale = 32 / np.tan(np.radians(model.cam_fovy[camera]) / 2) / -back
    data.qpos[joint : joint + 3] = [5, 5, 5]
    env._observe()
    changed = (np.abs(frame.astype(int) - env.frame()).sum(-1) > 60).nonzero()
    assert len(changed[0]) > 20
    assert np.median(changed[0]) == pytest.approx(31.5 - up * scale, abs=6)
    assert np.median(changed[1]) == pytest.approx(31.5 - right * scale, abs=6)  # mirrored
    assert abs(right * scale) > 8  # so that the mirroring shows
    assert np.array_equal(env.restore(state), frame)


def test_two_environments_do_not_mix_their_pictures(env: LiberoEnv, goal_env: LiberoEnv) -> None:
    ours, theirs = env.reset(1), goal_env.reset(1)
    assert theirs.shape == (48, 48, 3)
    for _ in range(2):
        assert np.array_equal(env.frame(), ours)
        assert np.array_equal(goal_env.frame(), theirs)


def test_an_env_that_was_never_reset_restores_the_recorded_frame(env: LiberoEnv) -> None:
    """robosuite shows markers at the gripper until its first reset."""
    recorded = env.reset(5)
    fresh = LiberoEnv(env.config, env.task.task)
    try:
        np.testing.assert_array_equal(fresh.restore(env.sim_state()), recorded)
    finally:
        fresh.close()


def test_step_is_advance_and_frame(env: LiberoEnv) -> None:
    env.reset(5)
    state = env.sim_state()
    action = np.array([0.2, -0.4, -0.9, 0, 0, 0.1, 1], dtype=np.float64)
    result = env.step(action)
    after = env.sim_state()
    env.restore(state)
    assert env.advance(action.astype(np.float32)) is result.success
    assert np.array_equal(env.sim_state(), after)
    assert np.array_equal(env.frame(), result.frame)


@pytest.mark.parametrize("action", [[0.0] * 6, [0.0] * 6 + [np.nan], [[0.0] * 7], [np.inf] + [0.0] * 6])
def test_bad_actions_are_refused(env: LiberoEnv, action: list[float]) -> None:
    env.reset(0)
    state = env.sim_state()
    with pytest.raises(WovrError, match="7 finite numbers"):
        env.step(np.array(action, dtype=np.float32))
    assert np.array_equal(env.sim_state(), state)


def test_a_grasp_is_seen_and_the_predicate_follows_the_goal(env: LiberoEnv) -> None:
    assert env.goal == (("in", SOUP, "basket_1_contain_region"),)
    assert env.objects_of_interest == (SOUP, "basket_1")
    env.reset(3)
    height = env.poses()[SOUP][2]
    play.grasp_and_lift(env, SOUP)
    assert env.held_object() == SOUP
    assert SOUP in env.touched_objects()
    assert env.poses()[SOUP][2] > height + 0.05
    assert 0.01 < env.gripper_width() < 0.075
    assert not env.success
    # put it over the basket by hand and let go
    joint = env.model.joint("alphabet_soup_1_joint0")
    region = env.site_position("basket_1_contain_region")
    env.data.qpos[joint.qposadr[0] : joint.qposadr[0] + 3] = region + np.array([0, 0, 0.03])
    env.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = 0
    results = [env.advance(NULL_ACTION) for _ in range(15)]
    assert results[-1]
    assert env.success
    assert env.held_object() is None
    env.reset(3)
    assert not env.success


def test_poses(env: LiberoEnv) -> None:
    env.reset(0)
    poses = env.poses()
    assert {SOUP, "basket_1", "milk_1", "eef"} <= poses.keys()
    for pose in poses.values():
        assert pose.shape == (7,)
        assert pose.dtype == np.float32
        assert np.linalg.norm(pose[3:]) == pytest.approx(1, abs=1e-5)
    before = poses["eef"]
    for _ in range(6):
        env.advance(np.array([0, 1, 0, 0, 0, 0, -1]))
    moved = env.poses()["eef"] - before
    assert moved[1] > 0.05
    assert np.abs(moved[[0, 2]]).max() < 0.02
    with pytest.raises(UnknownNameError, match="did you mean 'basket_1_contain_region'"):
        env.site_position("basket_1_contain_regio")


def test_fixtures_are_drawn_too(goal_env: LiberoEnv) -> None:
    """Goal's cabinet moves at each reset; an open drawer region and the objects move along."""
    places = []
    for seed in range(4):
        goal_env.reset(seed)
        places.append(goal_env.poses()["wooden_cabinet_1"])
    assert np.ptp(np.stack(places), axis=0)[:2].max() > 1e-3
    again = goal_env.reset(2)
    assert np.array_equal(goal_env.poses()["wooden_cabinet_1"], places[2])
    assert np.array_equal(goal_env.reset(2), again)


def check_suite(suite: str, task: int) -> None:
    """Builds, starts from seeds without anyone noticing, and knows LIBERO's 50 evaluation states."""
    env = LiberoEnv(LiberoConfig(suite, size=16), task)
    np.random.seed(5)
    before = np.random.get_state()[1]
    first, state = env.reset(3), env.sim_state()
    assert not np.array_equal(env.reset(4), first)
    stored = libero_suites.evaluation_states(suite, task)
    assert stored.shape == (EVALUATION_STATES, 1 + env.model.nq + env.model.nv)
    joints = {
        name: env.model.joint(joint).qposadr[0]
        for joint in (env.model.joint(i).name for i in range(env.model.njnt))
        if (name := joint.removesuffix("_joint0")) in env.poses()
    }
    assert joints
    for index in (0, EVALUATION_STATES - 1):
        env.reset_to_initial(index)
        for name, address in joints.items():  # things settle: a bowl that is dropped onto a ramekin slides 6 cm
            assert np.linalg.norm(env.poses()[name][:2] - stored[index, 1 + address : 3 + address]) < 0.1, name
        again = env.sim_state()
        env.reset(9)
        env.reset_to_initial(index)
        assert np.array_equal(env.sim_state(), again)
    assert np.array_equal(env.reset(3), first)
    assert np.array_equal(env.sim_state(), state)
    assert np.array_equal(np.random.get_state()[1], before)
    assert not env.success
    env.close()


def test_a_task_of_the_long_suite_starts_as_it_should() -> None:
    check_suite("libero_10", 4)


def test_a_start_waits_for_what_falls() -> None:
    """In this living room three boxes are dropped from over a metre."""
    env = LiberoEnv(LiberoConfig("libero_10", size=16), 0)
    env.reset(0)
    before = env.poses()
    env.advance(NULL_ACTION)
    after = env.poses()
    moved = {name: float(np.linalg.norm(after[name][:3] - before[name][:3])) for name in before}
    assert max(moved.values()) < 0.002, moved
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "task"), [("libero_spatial", 5), ("libero_object", 7), ("libero_goal", 0), ("libero_10", 2),
                        ("libero_90", 0), ("libero_90", 40), ("libero_90", 83)],
)  # fmt: skip
def test_tasks_of_every_suite_start_as_they_should(suite: str, task: int) -> None:
    check_suite(suite, task)


def test_a_process_prints_nothing_and_leaves_home_alone(tmp_path: Path) -> None:
    """Import, build, two environments, pictures, exit without closing: not a byte on the console."""
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "import numpy as np\n"
        "from wovr_core.envs.libero import LiberoConfig, LiberoEnv\n"
        "from wovr_core.envs.libero_suites import tasks\n"
        "tasks('libero_spatial')\n"
        "envs = [LiberoEnv(LiberoConfig('libero_object', size=32), t) for t in (0, 1)]\n"
        "for e in envs: e.reset(0); e.step(np.zeros(7))\n"
    )
    from wovr_core.envs.libero_render import cache_folder

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LIBERO", "NUMBA", "MPL", "MESA"))}
    environment |= {"HOME": str(home), "WOVR_HOME": str(cache_folder().parent), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.rglob("*")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
