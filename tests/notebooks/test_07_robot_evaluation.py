"""A whole evaluation in the simulated lab, its refusals, and the statistics before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_an_evaluation_from_plan_to_report(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("07_robot_evaluation")
    assert shown.figures == 4
    assert shown.widgets == 2
    assert "trial 4 of 4: finished" in shown.printed
    for refusal in ("ProtocolError: labels first", "ReportRefusedError: no report", "TamperedError"):
        assert refusal in shown.printed
    folder = shown.home / "notebooks" / "07_robot_evaluation"
    assert (folder / "lab" / "report.json").is_file()
    assert not (folder / "lost" / "report.html").exists(), "an evaluation with a missing film has no report"
    assert not shown.complaints
