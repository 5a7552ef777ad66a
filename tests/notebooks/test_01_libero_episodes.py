"""LIBERO episodes and their conventions, executed from top to bottom; its claims are assertions of its cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_its_fast_path(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("01_libero_episodes")
    assert shown.figures == 6
    assert shown.widgets == 4, "two to turn through, the steering, the scrubber"
    assert "the same to the bit" in shown.printed
    assert "turned by 180°         -> rotation" in shown.printed
    assert not shown.complaints
