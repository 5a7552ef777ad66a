"""A WOVR_HOME for a while: it is there, and what was there before is there again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from apps.bench.home import at_home
from wovr_core.files import wovr_home


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_what_was_there_before_comes_back(before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WOVR_HOME", raising=False)
    if before is not None:
        monkeypatch.setenv("WOVR_HOME", before)
    with suppress(ZeroDivisionError), at_home(tmp_path):
        assert wovr_home() == tmp_path
        raise ZeroDivisionError
    assert os.environ.get("WOVR_HOME") == before
