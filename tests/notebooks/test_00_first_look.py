"""The first look, executed from top to bottom: on a run of one's own, and on the starter pack where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_it_opens_the_run_that_is_named(smoke_run: Path, run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("00_first_look", WOVR_RUN=str(smoke_run))
    assert shown.widgets == 2, "two scrubbers"
    assert shown.figures == 5
    assert "recipe smoke" in shown.printed
    assert "false among imagined successes" in shown.printed
    assert not shown.complaints
    assert not (smoke_run / "annotations.jsonl").exists(), "looking leaves no trace"


@pytest.mark.timeout(900)
def test_without_a_run_it_opens_the_starter_pack(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("00_first_look")
    assert (shown.home / "runs" / "starter" / "run.json").is_file()
    assert "starter: recipe demo" in shown.printed
    assert shown.widgets == 2
    assert not shown.complaints
