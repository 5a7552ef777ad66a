"""Small synthetic records that several test folders share."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from wovr_core.types import NULL_ACTION, Episode, Rollout, Start, TaskId

TASK = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket")


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    """An episode whose frames carry their number in their pixels, with a grasp and a release."""

    def make(
        name: str = "e0",
        length: int = 40,
        success_at: int | None = None,
        close: int = 10,
        release: int = 30,
        size: int = 8,
    ) -> Episode:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
        actions[:, 6] = -1
        actions[close:release, 6] = 1
        frames = np.zeros((length + 1, size, size, 3), np.uint8)
        frames += np.arange(length + 1, dtype=np.uint8)[:, None, None, None]
        success = np.zeros(length + 1, bool)
        if success_at is not None:
            success[success_at:] = True
        return Episode(
            id=name,
            task=TASK,
            seed=3,
            source="expert",
            frames=frames,
            actions=actions,
            success=success,
            sim_states=rng.standard_normal((length + 1, 11)),
            clean_actions=actions.copy(),
            info={"view": "full"},
        )

    return make


@pytest.fixture
def make_rollout() -> Callable[..., Rollout]:
    """A rollout of K chunks whose p_success rises over the threshold at `success_at` (an action count), or never."""

    def make(name: str = "r0", chunks: int = 4, success_at: int | None = None, size: int = 8) -> Rollout:
        steps = chunks * 8
        rng = np.random.default_rng(1)
        p_success = np.full(steps + 1, 0.1, np.float32)
        loss_mask = np.ones((chunks, 8), bool)
        if success_at is not None:
            p_success[success_at:] = 0.9
            loss_mask.reshape(-1)[success_at:] = False
        return Rollout(
            id=name,
            task=TASK,
            start=Start("e0", 5),
            group_id="g0",
            sampler_seed=7,
            context_frames=rng.integers(0, 256, (5, size, size, 3), dtype=np.uint8),
            context_actions=np.repeat(NULL_ACTION[None], 5, axis=0),
            sim_state=rng.standard_normal(11),
            frames=rng.integers(0, 256, (steps + 1, size, size, 3), dtype=np.uint8),
            actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
            action_tokens=rng.integers(0, 65, (chunks, 8, 7)),
            log_probs=rng.standard_normal((chunks, 8, 7)).astype(np.float32),
            p_success=p_success,
            loss_mask=loss_mask,
            reward=0.0 if success_at is None else 0.99**success_at,
            versions={"policy": "p1"},
            info={"keyframe": "contact", "success_threshold": "0.5"},
        )

    return make


@pytest.fixture(scope="session", autouse=True)
def wovr_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One WOVR_HOME for the whole test run, shared by its workers: meshes are decimated once."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "wovr_home"
    home.mkdir(exist_ok=True)
    before = os.environ.get("WOVR_HOME")
    os.environ["WOVR_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["WOVR_HOME"]
    else:
        os.environ["WOVR_HOME"] = before
