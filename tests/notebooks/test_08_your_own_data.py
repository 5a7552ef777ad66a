"""A foreign dataset with two faults, from the doctor to an export; a foreign checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.timeout(900)
def test_foreign_data_and_weights(run_notebook: Callable[..., Any]) -> None:
    shown = run_notebook("08_your_own_data")
    assert shown.figures == 2
    assert shown.widgets == 1
    assert "gripper_sign: +1 opens the gripper" in shown.printed
    assert "prefix='module.'" in shown.printed
    assert shown.printed.count("CheckpointMismatchError") == 3
    work = shown.home / "notebooks" / "08_your_own_data"
    assert (work / "lerobot" / "meta" / "info.json").is_file()
    assert (work / "mine" / "policy" / "manifest.json").is_file()
    assert not shown.complaints
