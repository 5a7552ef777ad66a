"""Plain lines where there is no terminal, from one process of several."""

import logging

import pytest

from wovr_core.stages import progress


@pytest.mark.parametrize(("rank", "lines"), [(None, 2), ("0", 2), ("1", 0)])
def test_one_process_speaks_for_all(
    rank: str | None, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "QUIET_INTERVAL", -1.0)
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    counter = progress.Progress("export", 2, "episode")
    with caplog.at_level(logging.INFO, logger="wovr.progress"):
        counter.update()
        counter.update()
    counter.close()
    assert len(caplog.records) == lines
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["export: 1/2", "export: 2/2"][:lines]
