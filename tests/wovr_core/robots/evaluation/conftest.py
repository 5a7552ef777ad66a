"""Evaluations without a robot: plans of little pictures, and trials that end as a test says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wovr_core.files import write_bytes
from wovr_core.robots.evaluation.evaluation import Evaluation, attempt_name
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.types import TaskId

TASK = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket")


@pytest.fixture
def make_evaluation(tmp_path: Path) -> Callable[..., Evaluation]:
    """A planned evaluation of policies "after" and "before"."""

    def make(name: str = "e", contestants: tuple[str, ...] = ("before", "after"), **protocol: object) -> Evaluation:
        folder = tmp_path / name
        write_plan(
            folder,
            name,
            robot="none",
            task=TASK,
            simulated=True,
            protocol=ProtocolConfig(**({"trials": 3} | protocol)),  # type: ignore[arg-type]
            contestants=[Contestant(c, f"version-{c}") for c in contestants],
            pictures={c: np.full((32, 32, 3), c, np.uint8) for c in (4, 7, 9)},
            salt="a salt",
        )
        return Evaluation(folder)

    return make


@pytest.fixture
def play() -> Callable[..., None]:
    """Runs a trial that ends as it is told; the operator labels it by its success."""

    def run(
        evaluation: Evaluation, number: int, success: bool = False, how: str = "finished", label: bool = True
    ) -> None:
        attempt = evaluation.begin(number, "op")
        name = attempt_name(number, attempt)
        body: dict[str, object] = {"attempt": attempt, "how": how, "why": "", "clips": {}, "steps": 5}
        for key, folder, suffix in (("episode", "episodes", "safetensors"), ("video", "videos", "mp4")):
            data = f"{key} of {name}".encode()
            write_bytes(evaluation.folder / folder / f"{name}.{suffix}", data)
            body[key] = hashlib.sha256(data).hexdigest()
        evaluation.end(number, body)
        if label and how == "finished":
            evaluation.label(number, "op", success)

    return run
