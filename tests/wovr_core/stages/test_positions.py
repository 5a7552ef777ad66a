"""Positions read off saved states are those of the moment they were saved at."""

from dataclasses import replace

import numpy as np
import pytest

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.stages.positions import positions_of


@pytest.mark.slow
def test_positions_of_real_states(make_episode):
    config = LiberoConfig(size=16)
    env = LiberoEnv(config, 0)
    env.reset(3)
    states, seen = [env.sim_state()], [env.poses()]
    push = np.array([0.6, -0.3, -0.5, 0, 0, 0, 1], dtype=np.float32)
    for _ in range(6):
        env.advance(push)
        states.append(env.sim_state())
        seen.append(env.poses())
    episode = replace(make_episode(length=6, size=16), sim_states=np.stack(states))
    with EnvPool(workers=0) as pool:
        (found,) = positions_of([episode], [[0, 4, 6]], config, pool)
    assert found.shape == (3, 2, 3)
    for row, step in zip(found, (0, 4, 6), strict=True):
        np.testing.assert_allclose(row[0], seen[step]["eef"][:3], atol=1e-6)
        np.testing.assert_allclose(row[1], seen[step][env.objects_of_interest[0]][:3], atol=1e-6)
    assert np.linalg.norm(found[2, 0] - found[0, 0]) > 0.01  # the hand moved


def test_an_episode_without_states_is_named(make_episode):
    with pytest.raises(WovrError, match="episode e0 holds no simulator states"):
        positions_of([replace(make_episode(), sim_states=None)], [[0]], LiberoConfig(size=16), EnvPool(workers=0))
