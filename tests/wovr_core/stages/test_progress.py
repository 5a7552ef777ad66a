"""Plain lines where there is no terminal, from one process of several."""

import logging
from types import SimpleNamespace

import pytest

from wovr_core.stages import progress


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (1, 60.0, "collect: 1/52"),  # the first unit carries what starting cost: no forecast from it
        (2, 60.0, "collect: 2/52, 30.0 s/episode, 25 min left"),
        (50, 20.0, "collect: 50/52, 2.5 episode/s, 1 s left"),
        (22, 44.0, "collect: 22/52, 2.0 s/episode, 60 s left"),
    ],
)
def test_pace_and_time_left_are_said_as_people_say_them(
    done: int, seconds: float, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    counter = progress.Progress("collect", 52, "episode")
    now[0] += seconds
    with caplog.at_level(logging.INFO, logger="wovr.progress"):
        counter.update(done)
    assert caplog.messages == [said]


def test_what_an_earlier_attempt_did_is_not_counted_as_speed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    counter = progress.Progress("sft", 700, "step", initial=600)
    now[0] += 40.0
    with caplog.at_level(logging.INFO, logger="wovr.progress"):
        counter.update(20)
    assert caplog.messages == ["sft: 620/700, 2.0 s/step, 3 min left"]


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
