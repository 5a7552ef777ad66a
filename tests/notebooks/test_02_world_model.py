"""A world model that follows actions, executed from top to bottom; its claims are assertions of its cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_its_fast_path(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("02_world_model")
    assert shown.figures == 4
    assert shown.widgets == 2, "a model to choose, and the steering"
    assert "5 models of" in shown.printed
    for name in ("no actions", "no anchor", "memory of 1 frame", "no noisy context"):
        assert f"full above “{name}”" in shown.printed
    assert "5 solver steps against 1: " in shown.printed
    assert not shown.complaints
