"""Watching a world model hallucinate, executed on the starter pack's models; its claims are assertions of its cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_its_fast_path(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("03_hallucination")
    assert shown.figures == 5
    assert shown.widgets == 2, "the scrubber, and the threshold to move"
    assert "models of the run starter" in shown.printed
    assert "12/23 = 52 %" in shown.printed, "the starter pack's audit"
    assert "with its own noise: 0.0" in shown.printed
    assert not shown.complaints
    done = [path.parent.name.split("-")[0] for path in shown.home.glob("notebooks/imagination/*/outputs.json")]
    assert sorted(done) == ["audit", "collect", "imagine", "keyframes"]
