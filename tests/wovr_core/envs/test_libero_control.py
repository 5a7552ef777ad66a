"""Our control loop against robosuite's own: the same bits, observables or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs.libero import LiberoConfig, LiberoEnv

sys.path.insert(0, str(Path(__file__).parent))
import libero_play as play


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(LiberoConfig("libero_object", size=16), 0)
    yield env
    env.close()


def test_a_step_is_robosuite_s_step_to_the_bit(env: LiberoEnv) -> None:
    """LIBERO's whole `step`, forward passes and sensors included, from the same start."""
    sensors_off = env.model.opt.disableflags
    assert sensors_off != 0
    env.reset(4)
    start = env.sim_state()
    play.grasp_and_lift(env, "alphabet_soup_1")  # contacts, both gripper commands, zero rotations
    grasping = env.sim_state()
    for begin, actions in ((start, play.random_actions(2, 14)), (grasping, play.random_actions(3, 8))):
        env.restore(begin)
        states, _, success = play.record(env, actions)
        env.restore(begin)
        env.model.opt.disableflags = 0
        for step, action in enumerate(actions):
            done = env._domain.step(action.astype(np.float64))[2]
            assert np.array_equal(env.sim_state(), states[step + 1]), step
            assert bool(done) == success[step + 1]
        assert env.data.sensordata.any()
        env.model.opt.disableflags = sensors_off


def test_the_gripper_moves_at_its_own_pace_and_holds_at_zero(env: LiberoEnv) -> None:
    env.reset(0)
    gripper = env._domain.robots[0].gripper
    assert np.allclose(gripper.current_action, [1, -1])  # open
    env.advance(np.array([0, 0, 0, 0, 0, 0, 1]))
    assert np.allclose(gripper.current_action, [0.75, -0.75])  # 25 physics steps of 0.01
    env.advance(np.zeros(7))
    assert np.allclose(gripper.current_action, [0.75, -0.75])
