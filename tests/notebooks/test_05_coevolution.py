"""Drift, rounds of PACE within a budget, a harmful refinement that is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_rounds_of_pace(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("05_coevolution")
    assert shown.figures == 2
    assert shown.widgets == 1
    assert "round 1: wait" in shown.printed
    assert "round 2: refine" in shown.printed
    assert "round 3: refine" in shown.printed
    assert "0 of 6 real episodes spent" in shown.printed
    assert "6 of 6 real episodes spent" in shown.printed
    assert "world model: rolled back" in shown.printed
    assert not (shown.home / "runs" / "starter").exists(), "it works on a copy"
    assert not shown.complaints
