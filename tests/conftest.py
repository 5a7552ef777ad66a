"""Small synthetic records that several test folders share."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from apps.bench.browser import chromium_path
from wovr_core.audit.outcomes import audit_rollout
from wovr_core.data.episode_files import write_episode, write_rollout
from wovr_core.files import write_json
from wovr_core.types import NULL_ACTION, Episode, Rollout, Start, TaskId

TASK = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser, a cluster or an arm is a program with timing of its own: a second try, which the summary shows."""
    no_chromium = pytest.mark.skipif(chromium_path() is None, reason="no Chromium; apt-get install chromium")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(no_chromium)
        if any(item.get_closest_marker(name) for name in ("browser", "ray", "robot")):
            item.add_marker(pytest.mark.flaky(reruns=1))


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


@pytest.fixture(scope="session")
def smoke_run(wovr_home: Path) -> Path:
    """A finished run of the smoke recipe on real LIBERO: the first worker that wants it makes it, the others wait."""
    run = wovr_home / "runs" / "finished"
    with FileLock(wovr_home / "smoke_run.lock", timeout=2400):
        if not (run / "report.html").exists():  # written last
            command = [sys.executable, "-m", "apps.cli", "run", "pipeline", "--recipe", "smoke", "--run", run.name]
            process = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=1800, check=False)
            assert process.returncode == 0, process.stderr
    return run


@pytest.fixture
def make_run(make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]) -> Callable[..., Path]:
    """A run folder as the pipeline leaves it, of made-up rollouts: one of each audit verdict, four chunks long.

    r-false and r-true imagine a success at action 12, r-true and r-missed have a real one at action 14; r-false
    differs from reality by 40 grey levels from frame 20 on, the others not at all. Two RL rollouts, two real episodes.
    """

    def make(below: Path, name: str = "demo", recipe: str = "demo") -> Path:
        run = below / name
        verdicts = {"r-true": (12, 14), "r-false": (12, None), "r-missed": (None, 14), "r-failed": (None, None)}
        audited = []
        for rollout_id, (imagined, real) in verdicts.items():
            rollout = make_rollout(rollout_id, success_at=imagined, size=16)
            frames = rollout.frames // 2
            shown = frames.copy()
            if rollout_id == "r-false":
                shown[20:] += 40
            rollout = replace(rollout, frames=shown, versions={"policy": "p1", "world_model": "w1", "reward": "c1"})
            episode = make_episode(rollout_id, length=32, success_at=real, size=16)
            episode = replace(episode, frames=frames, actions=rollout.actions, clean_actions=None, source="replay")
            write_rollout(run / "imagine" / "rollouts", rollout)
            write_episode(run / "audit" / "episodes", episode)
            audited.append(audit_rollout(rollout, episode))
        for i in range(2):
            write_rollout(run / "rl" / "rollouts", make_rollout(f"rl-{i}", chunks=2, success_at=6 if i else None))
            write_episode(run / "collect" / "episodes", make_episode(f"e{i}", success_at=30 if i else None))
        rows = [{**asdict(a), "task": str(a.task), "divergence": [float(d) for d in a.divergence]} for a in audited]
        write_json(run / "audit" / "rows.json", rows)
        for stage in ("collect", "rl", "imagine", "audit"):
            write_json(run / stage / "outputs.json", {"outputs": {}, "seconds": 1.0})
        config = {"name": recipe, "keyframes": {"divergence_threshold": 12.0}}
        write_json(run / "run.json", {"schema": 1, "recipe": recipe, "config": config, "wovr": "0", "machine": {}})
        return run

    return make
