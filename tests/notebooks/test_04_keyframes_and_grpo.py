"""Keyframes and masked GRPO by hand, executed on the starter pack's models; its claims are assertions of its cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_its_fast_path(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("04_keyframes_and_grpo")
    assert shown.figures == 4
    assert shown.widgets == 1, "the clip's bounds, to move"
    assert "loss by hand" in shown.printed
    assert "sum of advantage times change: +" in shown.printed
    assert "from keyframes: informative" in shown.printed
    assert not shown.complaints
