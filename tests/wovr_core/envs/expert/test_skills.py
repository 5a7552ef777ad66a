"""The skills of picking up and placing, on sights made by hand: each acts on what the instant shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from wovr_core.envs.expert.hand import CLOSE, OPEN, Hand, tilt_of, yaw_of
from wovr_core.envs.expert.shapes import Grip, hand_room, nearest_turn, rim_of
from wovr_core.envs.expert.skills import Place, Sight, SkillConfig, decide, is_clear
from wovr_core.envs.expert.solids import Blocks
from wovr_core.envs.expert.travel import NOTHING, heights_to_clear

GRIP = np.array([0, 0, 0.041])


def block(x: float, y: float, top: float, half: tuple[float, float] = (0.03, 0.03), turn: float = 0.0) -> Blocks:
    axis = np.array([[np.cos(turn), np.sin(turn)]])
    return Blocks(np.array([[x, y]]), axis, np.array([half]), np.zeros(1), np.array([top]))


NOBODY = block(0, 0, 0)[np.zeros(1, dtype=bool)]


def hand(*position: float, width: float = 0.08, yaw: float = 0.0) -> Hand:
    return Hand(np.array(position), yaw, width, np.zeros(2))


def sight(**changes: object) -> Sight:
    """A can at the origin, a basket at y = 0.26, nothing near, the hand above the can."""
    made = Sight(
        hand=hand(0, 0, 0.25),
        origin=np.array([0, 0, 0.038]),
        low=np.array([-0.032, -0.032, 0]),
        high=np.array([0.032, 0.032, 0.076]),
        grip=Grip(GRIP, 0.0, 0.063),
        held=False,
        place=Place(np.array([0, 0.26]), 0.01, rim=0.14),
        satisfied=False,
        obstacles=NOBODY,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def act(**changes: object) -> np.ndarray:
    return decide(sight(**changes), SkillConfig())


def in_hand(x: float, y: float, z: float, **changes: object) -> Sight:
    by = np.array([x, y, z]) - GRIP
    return replace(sight(hand=hand(x, y, z, width=0.063), held=True).with_object_at(sight().origin + by), **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ phases


def test_the_hand_sinks_only_over_the_object() -> None:
    beside = act(hand=hand(0.1, 0, 0.05))
    assert (beside[2], beside[0]) == (1, -1)
    assert act(hand=hand(0.001, 0, 0.2))[2] == -1


def test_closed_fingers_do_not_land_on_the_object() -> None:
    assert act(hand=hand(0, 0, 0.12))[2] == -1
    closed = act(hand=hand(0, 0, 0.12, width=0.03))
    assert closed[2] > 0
    assert closed[6] == OPEN


def test_around_the_object_the_fingers_close_and_what_they_hold_is_lifted() -> None:
    closing = act(hand=hand(*GRIP, width=0.075))
    assert closing[6] == CLOSE
    assert closing[2] == pytest.approx(0)
    lifting = act(hand=hand(*GRIP, width=0.063), held=True)
    assert (lifting[2], lifting[6]) == (1, CLOSE)


def test_over_the_container_it_lets_go_above_the_rim_and_not_before() -> None:
    config = SkillConfig()
    assert decide(in_hand(0, 0.26, 0.165), config)[6] == OPEN
    assert decide(in_hand(0, 0.26, 0.25), config)[6] == CLOSE
    assert decide(in_hand(0, 0.20, 0.165), config)[6] == CLOSE


def test_on_a_surface_it_is_let_go_once_it_stands() -> None:
    config, place = SkillConfig(), Place(np.array([0, 0.26]), 0.1)
    hanging, standing = in_hand(0, 0.26, 0.2, place=place), in_hand(0, 0.26, 0.143, place=place)
    lowering = decide(hanging, config)
    assert (lowering[2], lowering[6]) == (-1, CLOSE)
    assert decide(standing, config)[6] == OPEN
    assert decide(replace(hanging, satisfied=True), config)[6] == OPEN


def test_it_leaves_upwards_what_is_in_its_place() -> None:
    placed = replace(in_hand(0, 0.26, 0.143), held=False, satisfied=True, hand=hand(0, 0.26, 0.143))
    leaving = decide(placed, SkillConfig())
    assert (leaving[2], leaving[6]) == (1, OPEN)
    assert not is_clear(placed)
    assert is_clear(replace(placed, hand=hand(0, 0.26, 0.25)))


def test_what_is_carried_rises_before_a_wall_and_passes_over_it() -> None:
    wall = block(0, 0.12, 0.2, (0.3, 0.01))
    config = SkillConfig()
    low = decide(in_hand(0, 0.07, 0.1, obstacles=wall), config)
    assert low[1] == 0
    assert low[2] == 1
    high = decide(in_hand(0, 0.07, 0.27, obstacles=wall), config)
    assert high[1] == 1
    far = decide(in_hand(0, -0.1, 0.1, obstacles=wall), config)
    assert far[1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_carrying_never_runs_into_what_stands_in_the_way(seed: int) -> None:
    """A point mass that goes where the action says (1.5 cm a step) carries over random blocks."""
    rng = np.random.default_rng(seed)
    obstacles = NOBODY
    for _ in range(4):
        # none under the object nor at the basket
        at = (rng.uniform(-0.1, 0.1), rng.uniform(0.1, 0.15))
        obstacles = obstacles + block(*at, rng.uniform(0.02, 0.25), (0.05, 0.01), rng.uniform(0, 0.6))
    state = in_hand(0, 0, float(GRIP[2]), obstacles=obstacles)
    for _ in range(200):
        action = decide(state, SkillConfig())
        if action[6] == OPEN:
            break
        moved = state.with_object_at(state.origin + 0.015 * action[:3])
        state = replace(moved, hand=replace(state.hand, position=state.hand.position + 0.015 * action[:3]))
        inside = obstacles.distance(np.array([[state.origin[0], state.low[1]], [state.origin[0], state.high[1]]])) < 0
        assert not (inside & (obstacles.high > state.low[2])).any()
    assert action[6] == OPEN
    assert np.linalg.norm(state.origin[:2] - [0, 0.26]) < 0.02


# ------------------------------------------------------------------------------------------- measurement


def test_the_distance_to_a_turned_block_is_that_of_its_rectangle() -> None:
    rng = np.random.default_rng(0)
    made = block(0.1, -0.2, 1.0, (0.3, 0.05), 0.7)
    points = rng.uniform(-0.6, 0.6, (200, 2))
    edge = np.linspace(-1, 1, 2001)
    rim = np.concatenate(
        [np.stack([edge * 0.3, np.full(2001, s * 0.05)], 1) for s in (-1, 1)]
        + [np.stack([np.full(2001, s * 0.3), edge * 0.05], 1) for s in (-1, 1)]
    )
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    nearest = np.linalg.norm(points[:, None] - (rim @ turn.T + [0.1, -0.2]), axis=2).min(axis=1)
    local = (points - [0.1, -0.2]) @ turn
    sign = np.where((np.abs(local) < [0.3, 0.05]).all(axis=1), -1, 1)
    np.testing.assert_allclose(made.distance(points)[:, 0], sign * nearest, atol=3e-4)


def test_heights_to_clear_see_the_way_and_not_the_goal() -> None:
    both = block(0, 0.2, 0.3) + block(0, 0.4, 0.5)
    spot, start = np.zeros((1, 2)), np.zeros(2)
    assert heights_to_clear(start, np.array([0, 0.4]), spot, both) == (0.3, NOTHING)
    assert heights_to_clear(start, np.array([0, 0.4]), spot, both, ignore_at_goal=False) == (0.5, NOTHING)
    assert heights_to_clear(np.array([0, 0.14]), np.array([0, 0.4]), spot, both) == (0.3, 0.3)
    assert heights_to_clear(start, np.array([0.3, 0]), spot, both) == (NOTHING, NOTHING)


def test_room_for_the_hand_depends_on_its_turn_and_the_neighbours_height() -> None:
    point, yaws = np.array([[0, 0, 0.04]] * 2), np.array([0.0, np.pi / 2])
    beside = block(0, 0.12, 0.07)  # as high as the fingers, lower than the palm
    room = hand_room(point, yaws, beside)
    assert room[0] == pytest.approx(0.12 - 0.03 - 0.055, abs=1e-6)
    assert room[1] == pytest.approx(0.12 - 0.03 - 0.011, abs=1e-6)
    assert hand_room(point, yaws, block(0, 0.12, 0.15))[0] < 0  # the palm would sink into it
    assert hand_room(point, yaws, block(0, 0.12, 0.02)).tolist() == [1, 1]


def test_a_rim_is_measured_as_it_was_built() -> None:
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    size = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [0.002, 0.005, 0.02]
    turns = Rotation.from_rotvec([[0, 0, angle] for angle in angles]).as_matrix()
    at, wall = np.array([0.3, -0.1, 0]), np.array([0.05, 0, 0.03])
    corners = at + np.einsum("nij,kj->nki", turns, wall + size)
    middle, radius, top = rim_of(corners)
    np.testing.assert_allclose(middle, [0.3, -0.1, 0.05], atol=1e-3)
    assert radius == pytest.approx(0.05, abs=0.001)
    assert top == pytest.approx(0.05)


def test_the_hands_turn_and_tilt_are_read_from_its_quaternion() -> None:
    down = Rotation.from_quat([np.sqrt(0.5), np.sqrt(0.5), 0, 0])  # x y z w: half a turn about x = y
    for yaw in (-0.7, 0.0, 0.4):
        for tilt in ([0.0, 0.0], [0.2, -0.1]):
            turned = Rotation.from_rotvec([-tilt[0], -tilt[1], 0]) * Rotation.from_rotvec([0, 0, yaw]) * down
            x, y, z, w = turned.as_quat()
            np.testing.assert_allclose(tilt_of(np.array([w, x, y, z])), tilt, atol=1e-6)
            assert yaw_of(np.array([w, x, y, z])) == pytest.approx(yaw, abs=0.03 if tilt[0] else 1e-6)


@pytest.mark.parametrize(
    ("yaw", "now", "turn"), [(0.3, 0, 0.3), (3.0, 0, 3.0 - np.pi), (-1.7, 1.4, -1.7 + np.pi - 1.4)]
)
def test_a_hand_of_like_fingers_turns_the_shorter_way(yaw: float, now: float, turn: float) -> None:
    assert nearest_turn(yaw, now) == pytest.approx(turn)


def test_the_wrist_is_not_asked_beyond_its_range() -> None:
    for now in np.linspace(-1.9, 1.9, 9):
        for yaw in np.linspace(-np.pi, np.pi, 25):
            assert abs(now + nearest_turn(yaw, now)) <= 1.9 + 1e-9
