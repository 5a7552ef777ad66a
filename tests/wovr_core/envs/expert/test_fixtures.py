"""Drawers, knobs and pushing: the geometry of a leaning hand, and each skill in LIBERO-Goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from wovr_core.envs.expert.composition import expert_action
from wovr_core.envs.expert.drawers import PullDrawer, ShutDrawer, see_handle
from wovr_core.envs.expert.knobs import TurnKnob, see_knob
from wovr_core.envs.expert.pushing import PushTo, side_of
from wovr_core.envs.expert.subgoals import Subgoal
from wovr_core.envs.expert.wrist import TURN_AT, Wrist, leaning, move_and_turn, see_wrist, turn_between, upright
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.errors import UnknownNameError

DRAWER = "wooden_cabinet_1_middle_region"


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    made = LiberoEnv(LiberoConfig(suite="libero_goal", size=32), 0)
    yield made
    made.close()


def work(env: LiberoEnv, subgoal: Subgoal, limit: int) -> int:
    """Steps that a subgoal takes until it is done; fails after `limit`."""
    for step in range(limit):
        if subgoal.done(env):
            return step
        env.advance(subgoal.act(env))
    raise AssertionError(f"{subgoal.clause} is not done after {limit} steps")


# ---------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("lean", [0.0, 0.5, 1.3])
@pytest.mark.parametrize("angle", [0.0, 0.7, -1.6])
def test_a_leaning_hand_points_down_and_where_it_leans(lean: float, angle: float) -> None:
    direction = np.array([np.cos(angle), np.sin(angle), 0])
    across = np.array([-np.sin(angle), np.cos(angle), 0])
    posture = leaning(direction, lean, across)
    assert np.allclose(posture.T @ posture, np.eye(3))
    assert np.isclose(np.linalg.det(posture), 1)
    assert np.allclose(posture[:, 2], np.sin(lean) * direction - np.array([0, 0, np.cos(lean)]))
    assert np.allclose(posture[:, 1], across)  # it leans about the line across the fingers


def test_at_rest_the_fingers_open_along_y() -> None:
    assert np.allclose(upright(np.array([1.0, 0, 0])), [[0, 1, 0], [1, 0, 0], [0, 0, -1]])


def test_turns_are_those_of_scipy() -> None:
    first, second = Rotation.random(2, random_state=np.random.default_rng(0))
    turn = turn_between(first.as_matrix(), second.as_matrix())
    assert np.allclose(turn, (second * first.inv()).as_rotvec())
    assert np.allclose(turn_between(first.as_matrix(), first.as_matrix()), 0)


def test_small_turns_are_exactly_zero_and_large_ones_at_full_speed() -> None:
    zero, slight = np.zeros(3), np.array([0, 0.9 * TURN_AT, 0])
    assert (move_and_turn(zero, slight, 1)[3:6] == 0).all()
    assert np.allclose(move_and_turn(zero, np.array([0, 0, 2.0]), 1)[3:6], [0, 0, 1])


def test_pushing_stays_between_the_way_and_the_table_s_directions() -> None:
    wrist = Wrist(np.zeros(3), upright(np.array([1.0, 0, 0])), 0.08)
    side = side_of(np.array([-0.2, 0.5, 0]), wrist)
    assert side @ np.array([0, 1.0, 0]) > 0.97
    assert side[0] < 0
    # nearly diagonal: the side at which the hand stands already
    assert side_of(np.array([0.5, 0.6, 0]), wrist)[0] > 0.9
    turned = Wrist(np.zeros(3), upright(np.array([0, 1.0, 0])), 0.08)
    assert side_of(np.array([0.6, 0.5, 0]), turned)[1] > 0.9


# --------------------------------------------------------------------------------------------- what is seen


def test_a_drawer_s_handle_moves_out_with_it(env: LiberoEnv) -> None:
    env.reset(0)
    shut = see_handle(env.part(DRAWER))
    assert shut.value == pytest.approx(0, abs=1e-3)
    assert shut.thick == pytest.approx(0.016, abs=0.002)
    move_joint(env, DRAWER, -0.1)
    opened = see_handle(env.part(DRAWER))
    assert opened.value == -0.1
    assert np.allclose(opened.centre - shut.centre, (0.1 + shut.value) * shut.out, atol=1e-6)
    assert np.allclose(shut.out, [0, 1, 0], atol=0.01)  # away from the cabinet, towards the middle of the table


def test_a_knob_s_bar_turns_with_it(env: LiberoEnv) -> None:
    env.reset(0)
    before = see_knob(env.part("flat_stove_1"))
    move_joint(env, "flat_stove_1", 0.5)
    after = see_knob(env.part("flat_stove_1"))
    assert after.value == 0.5
    assert np.allclose(after.top[:2], before.top[:2], atol=1e-6)
    assert abs(after.along @ before.along) == pytest.approx(np.cos(0.5), abs=1e-3)


def test_unknown_parts_are_named(env: LiberoEnv) -> None:
    with pytest.raises(UnknownNameError, match="wooden_cabinet_1_top_region"):
        env.part("wooden_cabinet_1_top_regio")


def move_joint(env: LiberoEnv, part: str, value: float) -> None:
    """Put a moving part somewhere, at rest, through a saved state."""
    joint = env._parts._joints[part]
    env.data.qpos[env.model.jnt_qposadr[joint]] = value
    env.restore(env.sim_state())


def test_a_drawer_stays_shut_over_what_is_in_it(env: LiberoEnv) -> None:
    env.reset(0)
    inside = ("in", "akita_black_bowl_1", DRAWER)
    subgoal = PullDrawer(inside, DRAWER, unless=inside)
    assert not subgoal.done(env)
    seen = SimpleNamespace(part=env.part, poses=env.poses, gripper_width=env.gripper_width, holds=lambda clause: True)
    assert subgoal.done(seen)


# ------------------------------------------------------------------------------------------------- skills


@pytest.mark.parametrize("seed", [0, 1])
def test_the_middle_drawer_is_opened(env: LiberoEnv, seed: int) -> None:
    env.reset(seed)
    work(env, PullDrawer(("open", DRAWER), DRAWER), 130)
    assert env.success
    assert see_wrist(env).lean < 0.11


def test_an_open_drawer_is_shut(env: LiberoEnv) -> None:
    env.reset(2)
    move_joint(env, DRAWER, -0.15)
    assert env.success
    work(env, ShutDrawer(("close", DRAWER), DRAWER), 200)
    assert env.holds(("close", DRAWER))


def test_the_stove_is_turned_on_and_off(env: LiberoEnv) -> None:
    env.reset(3)
    work(env, TurnKnob(("turnon", "flat_stove_1"), "flat_stove_1", on=True), 160)
    assert env.holds(("turnon", "flat_stove_1"))
    work(env, TurnKnob(("turnoff", "flat_stove_1"), "flat_stove_1", on=False), 200)
    assert env.holds(("turnoff", "flat_stove_1"))


def test_a_plate_is_pushed_and_not_carried(env: LiberoEnv) -> None:
    env.reset(4)
    clause = ("on", "plate_1", "main_table_stove_front_region")
    subgoal, heights = PushTo(clause, clause[1], clause[2]), []
    for _ in range(200):
        if subgoal.done(env):
            break
        env.advance(subgoal.act(env))
        heights.append(float(env.poses()["plate_1"][2]))
    assert env.holds(clause)
    assert env.held_object() is None
    assert np.ptp(heights) < 0.03


def test_the_action_is_a_function_of_the_state(env: LiberoEnv) -> None:
    env.reset(5)
    states, wanted = [], []
    for _ in range(60):
        states.append(env.sim_state())
        wanted.append(expert_action(env))
        env.advance(wanted[-1])
    for index in (45, 10, 59, 30):  # in any order, whatever happened before
        env.restore(states[index])
        assert (expert_action(env) == wanted[index]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "task"), [("libero_10", 2), ("libero_10", 3)], ids=["stove_and_pot", "bowl_in_drawer"]
)
def test_long_tasks_with_moving_parts(suite: str, task: int) -> None:
    env = LiberoEnv(LiberoConfig(suite=suite, size=32), task)
    try:
        successes = [succeeds(env, seed, expert_action) for seed in range(3)]
    finally:
        env.close()
    assert sum(successes) >= 2


def succeeds(env: LiberoEnv, seed: int, act: Callable[[LiberoEnv], np.ndarray], limit: int = 300) -> bool:
    env.reset(seed)
    return any(env.advance(act(env)) for _ in range(limit))
