"""From a flag to a correction set, and to a reward classifier that was retrained with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_flags_become_corrections(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("06_annotate_and_correct")
    assert shown.figures == 3
    assert shown.widgets == 1
    assert "this span has changed meanwhile" in shown.printed
    assert "equal byte for byte" in shown.printed
    work = shown.home / "notebooks" / "06_annotate_and_correct"
    lines = [json.loads(line) for line in (work / "starter" / "annotations.jsonl").read_text().splitlines()]
    assert [line["author"] for line in lines if line.get("span", {}).get("id") == "jump"] == ["you", "ann"]
    assert (work / "retrain" / "reward" / "manifest.json").is_file()
    assert not (shown.home / "runs" / "starter").exists(), "it works on a copy"
    assert not shown.complaints
