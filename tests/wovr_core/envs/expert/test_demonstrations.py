"""The scripted expert: it succeeds, keeps no memory, never dawdles; noise and faults are what they say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wovr_core.envs.expert.composition import compose, expert_action
from wovr_core.envs.expert.demonstrations import ExpertConfig, Noise, NoiseConfig, run_expert_episode
from wovr_core.envs.expert.faults import FaultConfig, FaultKind
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
        np.testing.assert_array_equal(expert_action(env), clean.actions[step])


def test_it_never_dawdles(clean: Episode) -> None:
    moving = np.abs(clean.actions[:, :3]).max(axis=1) > 0.3
    assert clean.first_success is not None
    assert moving[: clean.first_success].mean() > 0.8
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


@pytest.mark.parametrize(
    ("suite", "task", "steps"),
    [
        ("libero_spatial", 7, 100),
        ("libero_goal", 6, 80),
        pytest.param("libero_goal", 2, 110, marks=pytest.mark.slow),
        pytest.param("libero_10", 4, 180, marks=pytest.mark.slow),
    ],
)
def test_it_does_tasks_of_every_suite_and_disturbs_nothing(suite: str, task: int, steps: int) -> None:
    env = LiberoEnv(LiberoConfig(suite=suite, size=16), task)
    env.reset(2)
    before = env.poses()
    moved = {clause[1] for clause in env.goal}
    for _ in range(steps):
        if all(subgoal.done(env) for subgoal in compose(env.goal)):
            break
        env.advance(expert_action(env))
    after = env.poses()
    env.close()
    assert env.success
    assert all(subgoal.done(env) for subgoal in compose(env.goal))
    targets = {name for clause in env.goal for name in before if clause[2].startswith(name)}
    for name in set(before) - moved - targets - {"eef"}:
        assert np.linalg.norm(after[name][:3] - before[name][:3]) < 0.01, name


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
    np.testing.assert_array_equal(expert_action(env), episode.clean_actions[-1])


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


def test_where_nothing_is_picked_up_a_fault_is_refused_and_a_share_of_faults_is_none() -> None:
    env = LiberoEnv(LiberoConfig(suite="libero_goal", size=16), 7)  # turn on the stove
    with pytest.raises(WovrError, match="no fault 'bad_grasp' in libero_goal/7"):
        run_expert_episode(env, 0, ExpertConfig(fault="bad_grasp"))
    episode = run_expert_episode(env, 0, ExpertConfig(max_steps=8, fault_rate=1.0))
    assert episode.source == "expert"
    assert episode.info["fault"] == "none"
    env.close()
