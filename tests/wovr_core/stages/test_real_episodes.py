"""Real episodes of a stage: what is there is kept, what is missing is made; Ctrl-C loses neither work nor time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import Interrupted
from wovr_core.files import read_json
from wovr_core.stages import folder as folders
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.real_episodes import make_missing, tell_of_first_use
from wovr_core.types import Episode

NAMES = ["a", "b", "c"]


@dataclass(frozen=True)
class Config:
    trials: int = 3


class Pool:
    """Runs jobs one by one, and notes them with their keys."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

    def map(self, function: Any, jobs: Any, key: Any = None) -> Iterator[Any]:
        for job in jobs:
            self.done.append((job.name, key(job)))
            yield function(None, job)

    def close(self) -> None: ...


@pytest.fixture
def make(make_episode: Callable[..., Episode]) -> Callable[[Path, Pool], Path]:
    def make(path: Path, pool: Pool) -> Path:
        folder = StageFolder(path, "evaluate", Config(), {})
        return make_missing(
            folder,
            NAMES,
            lambda envs, job: make_episode(f"as the job called it: {job.name}", length=8, close=2, release=5),
            lambda name: SimpleNamespace(name=name, env=LiberoConfig(), task=NAMES.index(name)),
            pool,
        )

    return make


def test_it_makes_what_is_missing_and_nothing_else(tmp_path: Path, make: Callable[[Path, Pool], Path]) -> None:
    pool = Pool()
    episodes = make(tmp_path, pool)
    assert pool.done == [("a", 0), ("b", 1), ("c", 2)]  # by task, so that processes keep their environments
    assert [e.id for e in EpisodeSet(episodes)] == NAMES
    (episodes / "b.safetensors").unlink()
    before = {path: path.stat().st_mtime_ns for path in episodes.iterdir()}
    make(tmp_path, pool)
    assert pool.done[3:] == [("b", 1)]
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_ctrl_c_keeps_the_work_and_counts_its_time(
    tmp_path: Path, make: Callable[[Path, Pool], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "stop_requested", lambda: True)
    monkeypatch.setattr(StageFolder, "seconds", lambda self: self._spent_before + 7.0)
    for attempt in (1, 2):
        with pytest.raises(Interrupted, match=r"^stopped evaluate; the same command goes on from there$"):
            make(tmp_path, Pool())
        assert len(EpisodeSet(tmp_path / "episodes")) == attempt
        assert read_json(tmp_path / "elapsed.json")["seconds"] == 7.0 * attempt
    monkeypatch.setattr(folders, "stop_requested", lambda: False)
    make(tmp_path, Pool())
    assert len(EpisodeSet(tmp_path / "episodes")) == 3


def test_the_silence_of_a_first_use_is_explained_once(
    tmp_path: Path,
    make: Callable[[Path, Pool], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path / "home"))
    caplog.set_level(logging.INFO, logger="wovr.collect")
    make(tmp_path / "evaluate", Pool())
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("first use of LIBERO here: ")
    make(tmp_path / "evaluate", Pool())  # nothing is left to do
    tell_of_first_use(LiberoConfig(profile="reference"))  # draws LIBERO's own meshes
    (tmp_path / "home" / "meshes").mkdir(parents=True)
    (tmp_path / "home" / "meshes" / "0123.obj").touch()
    tell_of_first_use(LiberoConfig())
    assert len(caplog.messages) == 1


@pytest.mark.fault
def test_what_a_kill_or_a_bad_disk_left_is_made_again(tmp_path: Path, make: Callable[[Path, Pool], Path]) -> None:
    episodes = make(tmp_path, Pool())
    torn, half = episodes / "a.safetensors", episodes / ".c.safetensors.x1y2.tmp"
    torn.write_bytes(torn.read_bytes()[:-40])
    half.write_bytes(b"half")
    pool = Pool()
    make(tmp_path, pool)
    assert pool.done == [("a", 0)]
    assert sorted(path.name for path in episodes.iterdir()) == [f"{name}.safetensors" for name in NAMES]
    assert [e.id for e in EpisodeSet(episodes)] == NAMES
