"""What is recorded is what the environment showed, streams included; stored, it is what was foretold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import libero_play as play

from wovr_core.data.episode_files import read_episode, write_episode
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.libero import LiberoConfig
from wovr_core.execution import ReplayJob, replay
from wovr_core.stages.disk import episode_bytes
from wovr_core.types import Episode

RICH = LiberoConfig("libero_goal", size=64, streams=("wrist", "depth", "segmentation"))
TASK = 4


@pytest.fixture(scope="module")
def envs() -> Iterator[EnvCache]:
    cache = EnvCache(2)
    yield cache
    cache.close()


def test_streams_are_recorded_stored_and_of_the_frame_they_stand_beside(envs: EnvCache, tmp_path: Path) -> None:
    env = envs.get(RICH, TASK)
    env.reset(3)
    start = env.sim_state()
    episode = replay(envs, ReplayJob(RICH, TASK, "rich", start, play.random_actions(1, 24)))
    stored = read_episode(write_episode(tmp_path, episode))
    assert episode.sim_states is not None
    for step in (0, 13, 24):
        frame = env.restore(episode.sim_states[step])
        assert np.array_equal(stored.frames[step], frame)
        for name, picture in env.streams().items():
            recorded = stored.streams[name]
            assert recorded.dtype == picture.dtype
            assert recorded.shape == (25, *picture.shape)
            assert np.array_equal(recorded[step], picture), (name, step)
    names = json.loads(stored.info["segmentation_names"])
    assert names[:3] == ["background", "robot", "gripper"]
    assert set(np.unique(stored.streams["segmentation"])) <= set(range(len(names)))
    assert (stored.streams["segmentation"] == names.index("gripper")).any()


@pytest.fixture(scope="module")
def long(envs: EnvCache) -> Episode:
    """Sixty steps with every stream."""
    env = envs.get(RICH, TASK)
    env.reset(5)
    return replay(envs, ReplayJob(RICH, TASK, "e", env.sim_state(), play.random_actions(2, 60)))


@pytest.mark.parametrize("streams", [(), ("wrist", "depth", "segmentation")])
def test_an_episode_takes_what_was_foretold(long: Episode, tmp_path: Path, streams: tuple[str, ...]) -> None:
    """Never more than the estimate, and not so much less that it would scare people off."""
    episode = replace(long, streams={name: long.streams[name] for name in streams})
    config = LiberoConfig("libero_goal", size=64, streams=streams)
    size = {}
    for codec in ("raw", "webp", "auto"):
        size[codec] = write_episode(tmp_path, episode, codec).stat().st_size  # type: ignore[arg-type]
        assert 0.3 * episode_bytes(config, 60, codec) < size[codec] < episode_bytes(config, 60, codec)  # type: ignore[arg-type]
    assert size["auto"] < 0.3 * size["raw"]
    assert size["auto"] < 0.75 * size["webp"]
