"""The scripted expert: it succeeds, keeps no memory, never dawdles; noise and faults are what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from wovr_core.envs.expert import skills as expert_skills
from wovr_core.envs.expert.demonstrations import (
    ExpertConfig,
    FaultConfig,
    FaultKind,
    Noise,
    NoiseConfig,
    run_expert_episode,
)
from wovr_core.envs.expert.skills import HAND_BELOW, SHAPES, Sight, clear_yaw, expert_action, look
from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, Episode

QUIET = NoiseConfig(gaussian=0, drift=0)
CLEAN = ExpertConfig(noise=QUIET)


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    made = LiberoEnv(LiberoConfig(size=16), 5)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clean(env: LiberoEnv) -> Episode:
    return run_expert_episode(env, 7, CLEAN)


def sight(**changes: object) -> Sight:
    """A can at the origin, nothing near, the hand above it."""
    made = Sight(
        hand=np.array([0, 0, 0.25], np.float32),
        yaw=0.0,
        width=0.08,
        object=np.array([0, 0, 0.038], np.float32),
        shape=SHAPES["tomato_sauce"],
        target=np.array([0, 0.26, 0.067], np.float32),
        neighbours=np.zeros((0, 4), np.float32),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ expert


def test_it_succeeds_and_shows_the_released_object(clean: Episode) -> None:
    assert clean.succeeded
    assert clean.first_success is not None
    assert clean.first_success < 100
    assert CLEAN.after_success <= clean.length - clean.first_success < CLEAN.after_success + CHUNK
    assert clean.success[-1]
    assert clean.length % CHUNK == 0
    assert len(clean.frames) == len(clean.success) == clean.length + 1
    assert clean.sim_states is not None
    assert len(clean.sim_states) == clean.length + 1
    assert clean.source == "expert"
    assert clean.clean_actions is not None
    np.testing.assert_array_equal(clean.actions, clean.clean_actions)


def test_it_keeps_no_memory(env: LiberoEnv, clean: Episode) -> None:
    assert clean.sim_states is not None
    for step in np.random.default_rng(0).permutation(clean.length)[:20]:
        env.restore(clean.sim_states[step])
        np.testing.assert_array_equal(expert_action(look(env)), clean.actions[step])


def test_it_never_dawdles(clean: Episode) -> None:
    moving = np.abs(clean.actions[:, :3]).max(axis=1) > 0.3
    assert clean.first_success is not None
    assert moving[: clean.first_success].mean() > 0.85
    still = "".join("." if m else "s" for m in moving[: clean.first_success]).split(".")
    assert max(map(len, still)) <= 8  # closing the fingers takes six or seven steps
    assert np.mean(np.abs(clean.actions[: clean.first_success, :3]).max(axis=1) == 1) > 0.6


def test_what_does_not_move_is_exactly_zero(clean: Episode) -> None:
    assert (clean.actions[:, 3:5] == 0).all()
    assert set(np.unique(clean.actions[:, 6])) == {-1.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("task", range(10))
def test_it_does_every_task(task: int) -> None:
    env = LiberoEnv(LiberoConfig(size=16), task)
    episodes = [run_expert_episode(env, 500 + seed, CLEAN) for seed in range(4)]
    noisy = [run_expert_episode(env, 600 + seed, ExpertConfig()) for seed in range(3)]
    env.close()
    assert sum(episode.succeeded for episode in episodes) == 4
    assert sum(episode.succeeded for episode in noisy) >= 2
    assert max(episode.length for episode in episodes) <= 130


def test_it_says_what_it_cannot_do() -> None:
    env = LiberoEnv(LiberoConfig(suite="libero_goal", size=16), 7)  # turn on the stove
    with pytest.raises(WovrError, match="cannot do libero_goal/7"):
        look(env)
    env.close()
    with pytest.raises(WovrError, match="does not know 'plate_1'"):
        expert_skills.shape_of("plate_1")


# ------------------------------------------------------------------------------------------------ skills


def test_the_hand_sinks_only_over_the_object() -> None:
    beside = expert_action(sight(hand=np.array([0.1, 0, 0.05], np.float32)))
    over = expert_action(sight(hand=np.array([0.001, 0, 0.2], np.float32)))
    assert beside[2] == 1
    assert beside[0] == -1
    assert over[2] == -1


def test_closed_fingers_do_not_land_on_the_object() -> None:
    above = np.array([0, 0, 0.12], np.float32)
    assert expert_action(sight(hand=above, width=0.08))[2] == -1
    assert expert_action(sight(hand=above, width=0.03))[2] > 0
    assert expert_action(sight(hand=above, width=0.03))[6] == -1


def test_width_alone_tells_closing_from_carrying() -> None:
    around = sight().grip_point
    assert expert_action(sight(hand=around, width=0.075))[6] == 1
    assert expert_action(sight(hand=around, width=0.075))[2] == pytest.approx(0)
    lifting = expert_action(sight(hand=around, width=0.063))
    assert lifting[2] == 1
    assert lifting[6] == 1


def test_over_the_target_it_lets_go() -> None:
    hand = np.array([0, 0.26, 0.17], np.float32)
    held = hand - [0, 0, sight().shape.grip]
    assert expert_action(sight(hand=hand, object=held.astype(np.float32), width=0.063))[6] == -1


def test_the_hand_turns_away_from_a_tall_neighbour_only() -> None:
    tall = np.array([[0.05, -0.1, 0.14, 0.037]], np.float32)
    low = np.array([[0.05, -0.1, 0.02, 0.037]], np.float32)
    assert clear_yaw(sight()) == 0
    assert clear_yaw(sight(neighbours=low)) == 0
    turn = clear_yaw(sight(neighbours=tall))
    assert 0 < abs(turn) <= np.pi / 4
    # independent check: no point of the turned palm lies in the neighbour
    x, y = np.meshgrid(np.linspace(-0.032, 0.032, 33), np.linspace(-0.1, 0.1, 101))
    for yaw, expected in ((turn, False), (0.0, True)):
        palm = np.stack([x * np.cos(yaw) - y * np.sin(yaw), x * np.sin(yaw) + y * np.cos(yaw)], -1)
        assert (np.linalg.norm(palm - tall[0, :2], axis=-1) < 0.037).any() == expected
    assert float(sight().grip_point[2]) + HAND_BELOW < 0.14


def test_the_turn_of_the_hand_is_read_from_its_quaternion() -> None:
    from scipy.spatial.transform import Rotation

    down = Rotation.from_quat([np.sqrt(0.5), np.sqrt(0.5), 0, 0])  # x y z w: half a turn about x = y
    for yaw in (-0.7, 0.0, 0.4):
        x, y, z, w = (Rotation.from_rotvec([0, 0, yaw]) * down).as_quat()
        assert expert_skills._yaw(np.array([w, x, y, z])) == pytest.approx(yaw, abs=1e-6)


# ---------------------------------------------------------------------------------------- noise and faults


def test_the_same_seed_gives_the_same_episode(env: LiberoEnv) -> None:
    config = ExpertConfig(max_steps=48, fault_rate=0.5)
    first, again, other = (run_expert_episode(env, seed, config) for seed in (3, 3, 4))
    for name in ("frames", "actions", "clean_actions", "sim_states", "success"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.info == again.info
    assert not np.array_equal(first.actions, other.actions)


def test_noise_has_the_stated_strength_and_memory() -> None:
    noise = Noise(NoiseConfig(gaussian=0.1, drift=0.2, drift_steps=5), np.random.default_rng(0))
    clean_action = np.array([0, 0, 0, 0, 0, 0.5, 1], np.float32)
    drawn = np.stack([noise(clean_action) for _ in range(20_000)])
    assert (drawn[:, 3:] == clean_action[3:]).all()
    added = drawn[:, :3]
    assert added.std() == pytest.approx(np.hypot(0.1, 0.2), rel=0.05)
    lag = (added[5:] * added[:-5]).mean()
    assert lag == pytest.approx(0.2**2 * np.exp(-1), rel=0.2)
    assert np.abs(added.mean(axis=0)).max() < 0.02


def test_noise_never_leaves_the_action_range() -> None:
    noise = Noise(NoiseConfig(gaussian=2), np.random.default_rng(0))
    drawn = np.stack([noise(np.ones(7, np.float32)) for _ in range(100)])
    assert np.abs(drawn).max() <= 1


@pytest.mark.parametrize("kind", ["bad_grasp", "early_release", "bad_place"])
def test_a_fault_spoils_the_episode_and_the_label_stays_right(env: LiberoEnv, kind: FaultKind) -> None:
    faults = FaultConfig(grasp_offset=(0.04, 0.05), recover=0)
    episode = run_expert_episode(env, 11, ExpertConfig(fault=kind, faults=faults, noise=QUIET))
    assert not episode.succeeded
    assert episode.source == "expert_fault"
    assert episode.info == {"fault": kind, "recovers": "false"}
    assert episode.length % CHUNK == 0
    assert episode.clean_actions is not None
    assert episode.sim_states is not None
    assert not np.array_equal(episode.actions, episode.clean_actions)
    env.restore(episode.sim_states[-2])
    np.testing.assert_array_equal(expert_action(look(env)), episode.clean_actions[-1])


def test_the_share_of_faults_is_the_one_asked_for(env: LiberoEnv) -> None:
    kinds = [
        run_expert_episode(env, seed, ExpertConfig(max_steps=8, fault_rate=0.5)).info["fault"] for seed in range(24)
    ]
    assert 5 <= kinds.count("none") <= 19
    assert len(set(kinds)) == 4


@pytest.mark.parametrize("bad", [{"max_steps": 100}, {"max_steps": 0}, {"fault_rate": 1.5}])
def test_configurations_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(WovrError, match="is not a"):
        ExpertConfig(**bad)  # type: ignore[arg-type]
