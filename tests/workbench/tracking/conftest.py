"""A run folder written by the stages' own StageFolder: what trackers read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from wovr_core.data.episode_files import EpisodeSet, write_episode, write_rollout
from wovr_core.files import write_json
from wovr_core.stages.folder import StageFolder


@dataclass(frozen=True)
class Config:
    steps: int = 5


def finish(folder: StageFolder, **outputs: Any) -> None:
    write_json(folder.path / "outputs.json", {"outputs": outputs, "seconds": 1.0})


def write_model(path: Path, version: str) -> None:
    write_json(path / "manifest.json", {"version": version, "kind": "policy"})
    (path / "weights.safetensors").write_bytes(b"\0" * 8)


@pytest.fixture
def begin_run() -> Callable[[Path], Path]:
    def begin(path: Path) -> Path:
        write_json(path / "run.json", {"schema": 1, "recipe": "smoke"})
        return path

    return begin


@pytest.fixture
def tracked_run(tmp_path, begin_run, make_episode, make_rollout) -> Path:
    """collect -> sft (two loops) -> evaluate; imagine -> audit, all finished."""
    run = begin_run(tmp_path / "study")

    collect = StageFolder(run / "collect", "collect", Config(), {"seed": "0"})
    for i in range(2):
        write_episode(collect.path / "episodes", make_episode(f"e{i}", success_at=30 if i else None, size=16))
        collect.log(i + 1, {"success": float(i), "length": 40.0})
    demos = EpisodeSet(collect.path / "episodes").write_index()
    finish(collect, episodes=str(collect.path / "episodes"), version=demos, count=2)

    sft = StageFolder(run / "sft", "train_policy_sft", Config(), {"episodes": demos, "seed": "0"})
    for step in (25, 50, 75):
        sft.log(step, {"loss": 3.0 / step, "wm/odd": float("nan") if step == 50 else 1e-6 * step}, "training")
    sft.log(75, {"accuracy": 0.123457}, "held_out")
    write_model(sft.path / "policy", "p1")
    finish(sft, policy=str(sft.path / "policy"), version="p1")

    evaluate = StageFolder(run / "evaluate", "evaluate", Config(), {"policy": "p1", "seed": "0"})
    evaluate.log(2, {"successes": 1, "trials": 2, "success_rate": 0.5})
    finish(evaluate, policy="p1", successes=1, trials=2, interval=[0.1, 0.9], outcomes={"0": [True, False]})

    imagine = StageFolder(run / "imagine", "imagine", Config(), {"policy": "p1", "world_model": "w9"})
    for name, success in {"r-false": 12, "r-true": 12, "r-failed": None}.items():
        write_rollout(imagine.path / "rollouts", make_rollout(name, success_at=success, size=16))
    rollouts = EpisodeSet(imagine.path / "rollouts").write_index()
    imagine.log(3, {"imagined_successes": 2})
    finish(imagine, rollouts=str(imagine.path / "rollouts"), version=rollouts)

    audit = StageFolder(run / "audit", "audit", Config(), {"rollouts": rollouts})
    rows = []
    for name, real in {"r-false": None, "r-true": 14, "r-failed": None}.items():
        episode = make_episode(name, length=32, success_at=real, size=16)
        write_episode(audit.path / "episodes", replace(episode, source="replay"))
        imagined = name != "r-failed"
        row = {"rollout_id": name, "task": "libero_object/0", "depth": 12, "imagined_success": imagined}
        rows.append(row | {"real_success": real is not None, "divergence": [0.0, 2.5], "real_episode_id": name})
    write_json(audit.path / "rows.json", rows)
    audit.log(3, {"imagined_successes": 2, "false_successes": 1})
    finish(audit, rows=str(audit.path / "rows.json"), episodes=str(audit.path / "episodes"), false_success=[1, 2])
    return run


@pytest.fixture
def logged() -> Callable[[Path], dict[str, list[dict[str, Any]]]]:
    """stage -> the lines of its metrics.jsonl, read with nothing but json."""

    def read(run: Path) -> dict[str, list[dict[str, Any]]]:
        return {
            path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
            for path in run.glob("*/metrics.jsonl")
        }

    return read
