"""Exact replay: from any recorded frame, the same actions lead to the same bits. Everything later stands on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.libero_state import LAYOUT_VERSION, mujoco_version
from wovr_core.errors import WovrError
from wovr_core.types import FloatArray, StateArray

sys.path.insert(0, str(Path(__file__).parent))
import libero_play as play

ROOT = Path(__file__).parents[3]
OBJECT = LiberoConfig("libero_object", size=32)
SOUP = "alphabet_soup_1"


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(OBJECT, 0)
    yield env
    env.close()


@pytest.fixture(scope="module")
def spatial() -> Iterator[LiberoEnv]:
    env = LiberoEnv(LiberoConfig("libero_spatial", size=32), 3)
    yield env
    env.close()


def expert_like(env: LiberoEnv, seed: int, name: str) -> tuple[FloatArray, StateArray, list[np.ndarray]]:
    """A grasp with a carry, without any rotation: actions, states, frames."""
    env.reset(seed)
    start = env.sim_state()
    actions = np.stack(play.grasp_and_lift(env, name))
    env.restore(start)
    states, frames, _ = play.record(env, actions)
    return actions, states, frames


def test_a_grasp_replays_from_every_kind_of_frame(env: LiberoEnv) -> None:
    actions, states, frames = expert_like(env, 5, SOUP)
    assert env.held_object() == SOUP
    assert not actions[:, 3:6].any()
    closing = int(np.argmax(actions[:, 6] > 0))
    commands = states[:, 6]
    half_closed = int(np.argmax(np.abs(commands) < 0.5))
    assert closing < half_closed <= closing + 4
    for start in (0, closing // 2, closing, half_closed, len(actions) - 3):
        env.reset(90 + start)
        assert play.first_difference(env, actions, states, start) is None
    for start in (0, half_closed, len(actions)):  # the pictures too
        assert np.array_equal(env.restore(states[start]), frames[start])
    env.restore(states[half_closed])
    assert np.array_equal(env.step(actions[half_closed]).frame, frames[half_closed + 1])


def test_random_actions_replay(env: LiberoEnv) -> None:
    for seed in range(2):
        env.reset(seed)
        actions = play.random_actions(seed, 24)
        states, _, _ = play.record(env, actions)
        for start in (0, 7, 19):
            env.reset_to_initial(start)
            assert play.first_difference(env, actions, states, start) is None


@pytest.mark.parametrize("entry", ["gripper", "goal rotation", "warm start"])
def test_what_plain_mujoco_states_forget_is_needed(env: LiberoEnv, entry: str) -> None:
    """Without any of these the replay parts: the vector holds nothing for show."""
    env.reset(1)
    actions = np.zeros((8, 7), dtype=np.float32)
    actions[:, 0] = 0.5
    actions[:3, 3:6] = 0.3
    actions[:, 6] = [1, 1, 0, 0, 0, 0, 0, 0]
    states, _, _ = play.record(env, actions)
    broken = states.copy()
    size = env.model.nv
    if entry == "gripper":
        broken[3, 6:8] = [1, -1]
    elif entry == "goal rotation":
        broken[3, 11:20] = states[0, 11:20]
    else:
        env.restore(states[3])
        warm = find(states[3], env.data.qacc_warmstart)
        broken[3, warm : warm + size] = 0
    assert play.first_difference(env, actions, states, 3) is None
    broken[4:] = states[4:]
    difference = play.first_difference(env, actions, broken, 3)
    assert difference is not None
    assert "step 4" in difference


def find(vector: StateArray, part: np.ndarray) -> int:
    """Where `part` stands in `vector`."""
    for start in range(len(vector) - len(part) + 1):
        if np.array_equal(vector[start : start + len(part)], part):
            return start
    raise AssertionError("not there")


def test_fixtures_come_back_too(spatial: LiberoEnv) -> None:
    spatial.reset(1)
    actions = play.random_actions(4, 15)
    states, frames, _ = play.record(spatial, actions)
    cabinet = spatial.poses()["wooden_cabinet_1"]
    spatial.reset(2)
    assert not np.array_equal(spatial.poses()["wooden_cabinet_1"], cabinet)
    for start in (0, 9):
        spatial.reset(2)
        assert play.first_difference(spatial, actions, states, start) is None
    assert np.array_equal(spatial.poses()["wooden_cabinet_1"], cabinet)
    assert np.array_equal(spatial.frame(), frames[-1])


def test_a_fresh_process_and_stock_meshes_replay_the_same(env: LiberoEnv, tmp_path: Path) -> None:
    """Recorded here on fast meshes, replayed in another process on LIBERO's own."""
    actions, states, _ = expert_like(env, 6, SOUP)
    np.savez(tmp_path / "episode.npz", actions=actions, states=states)
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import numpy as np, libero_play as play\n"
        "from wovr_core.envs.libero import LiberoConfig, LiberoEnv\n"
        "d = np.load('episode.npz'); a, s = d['actions'], d['states']\n"
        "env = LiberoEnv(LiberoConfig('libero_object', size=32, profile='reference'), 0)\n"
        "for start in (0, 11, len(a) - 20):\n"
        "    print(play.first_difference(env, a, s, start))\n"
        "env.reset(6); print(np.array_equal(env.sim_state(), s[0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.stdout.split("\n")[:4] == ["None", "None", "None", "True"], done.stdout + done.stderr


def test_foreign_states_are_refused(env: LiberoEnv, spatial: LiberoEnv) -> None:
    env.reset(0)
    state = env.sim_state()
    assert state.dtype == np.float64
    assert state.shape == (env._layout.size,)
    with pytest.raises(WovrError, match="another task than libero_spatial/3"):
        spatial.restore(state)
    for index, value, message in (
        (0, LAYOUT_VERSION + 1, f"layout {LAYOUT_VERSION + 1}; this version reads layout {LAYOUT_VERSION}"),
        (1, state[1] + 1, "another task than libero_object/0"),
        (2, mujoco_version() - 1000, r"saved by MuJoCo 3\.16\.0, installed is 3\.17\.0"),
    ):
        other = state.copy()
        other[index] = value
        with pytest.raises(WovrError, match=message):
            env.restore(other)
    for wrong in (state[:-1], state[None], state.astype(np.float32), np.zeros(5)):
        with pytest.raises(WovrError, match=r"not a simulator state|another task"):
            env.restore(wrong)
    assert np.array_equal(env.sim_state(), state)  # a refused state changes nothing


@pytest.mark.slow
def test_twenty_episodes_replay_from_several_frames_each() -> None:
    """5 tasks of Object, 3 of Spatial, 2 of Goal; half random, half grasps; resets and evaluation starts."""
    plan = [("libero_object", t) for t in (0, 2, 4, 6, 9)]
    plan += [("libero_spatial", t) for t in (0, 4, 8)] + [("libero_goal", t) for t in (1, 7)]
    rng = np.random.default_rng(0)
    episodes = 0
    for suite, task in plan:
        env = LiberoEnv(LiberoConfig(suite, size=32), task)
        for kind in ("random", "grasp"):
            if kind == "random":
                env.reset_to_initial(task)
                actions = play.random_actions(task, 40)
                states, frames, _ = play.record(env, actions)
            else:
                target = next(n for n in env.objects_of_interest if n in env.poses())
                actions, states, frames = expert_like(env, task, target)
            for start in (0, *rng.integers(1, len(actions), 3)):
                env.reset(1000 + int(start))
                assert play.first_difference(env, actions, states, int(start)) is None, (suite, task, kind)
                assert np.array_equal(env.frame(), frames[-1])
            episodes += 1
        env.close()
    assert episodes == 20
