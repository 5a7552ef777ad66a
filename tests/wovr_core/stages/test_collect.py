"""Collecting at scale: killed and resumed, on little disk, in little memory, the same whoever does it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import collect_jobs as jobs

from wovr_core.data.episode_files import EpisodeSet, write_episode
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import RunFolderError, UnknownNameError, WovrError
from wovr_core.stages import collect, disk
from wovr_core.stages.folder import read_metrics
from wovr_core.types import Episode

ROOT = Path(__file__).parents[3]
Usage = namedtuple("Usage", "total used free")


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, clean: int, workers: int = 0, function: object = jobs.small,
        **settings: object) -> collect.CollectOutputs:  # fmt: skip
    monkeypatch.setattr(collect, "run_expert", function)
    with EnvPool(workers) as pool:
        return collect.run(collect.CollectConfig(clean=clean, faulty=0, **settings), jobs.inputs(pool), folder)


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = run(tmp_path / "here", monkeypatch, 6)
    there = run(tmp_path / "there", monkeypatch, 6, workers=2)
    assert here.version == there.version
    assert (here.count, here.steps) == (there.count, there.steps) == (12, 96)
    episodes = EpisodeSet(Path(there.episodes))
    assert list(episodes.paths)[:2] == ["libero_object-0-clean0000", "libero_object-0-clean0001"]
    assert here.successes == sum(e.succeeded for e in episodes)
    assert len({e.frames.tobytes() for e in episodes}) == 12
    assert [line["step"] for line in read_metrics(tmp_path / "there/metrics.jsonl")] == list(range(1, 13))


@pytest.mark.fault
def test_killed_again_and_again_it_ends_as_if_nothing_had_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 60
    folder, kills = tmp_path / "killed", 0
    command = [sys.executable, str(ROOT / "tests/wovr_core/stages/collect_jobs.py"), str(folder), str(count)]
    for share in (0.2, 0.5):
        process = subprocess.Popen([*command, "1"], env=os.environ | {"PYTHONPATH": str(ROOT)})
        while process.poll() is None and len(list(folder.glob("episodes/*.safetensors"))) < share * 2 * count:
            time.sleep(0.002)
        kills += process.poll() is None
        process.kill()
        process.wait()
        assert not (folder / "outputs.json").exists()
    assert kills == 2
    time.sleep(0.3)  # a worker notices its parent's death by itself
    (folder / "episodes" / ".libero_object-0-clean0000.safetensors.x1y2.tmp").write_bytes(b"half an episode")
    victim = sorted((folder / "episodes").glob("*.safetensors"))[5]
    victim.write_bytes(victim.read_bytes()[:-50])  # a disk that lied
    before = {path: path.stat().st_mtime_ns for path in (folder / "episodes").glob("*.safetensors") if path != victim}
    resumed = run(folder, monkeypatch, count, function=jobs.slow)
    assert resumed.count == 2 * count
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert resumed.version == run(tmp_path / "whole", monkeypatch, count, function=jobs.slow).version
    assert [path.name for path in (folder / "episodes").iterdir() if path.name.startswith(".")] == []


@pytest.mark.fault
def test_a_full_disk_is_foretold_and_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    free = 1 << 14
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, free))
    with pytest.raises(WovrError, match=r"100 episodes need about \d+ MB, .*outcome has 16 kB free: make room"):
        run(tmp_path / "outcome", monkeypatch, 50)
    assert "100 episodes to write: about" in caplog.text
    assert "16 kB free" in caplog.text
    assert not (tmp_path / "outcome/episodes").exists()

    monkeypatch.setattr(collect, "episode_bytes", lambda *a: 1)  # an estimate that was far too low
    free = 200_000
    with pytest.raises(WovrError, match=r"99 episodes need about"):
        run(tmp_path / "outcome", monkeypatch, 50)
    written = list((tmp_path / "outcome/episodes").iterdir())
    assert len(written) == 1
    assert f"the first of these episodes took {disk.size_text(written[0].stat().st_size)};" in caplog.text

    free = 1 << 30
    assert run(tmp_path / "outcome", monkeypatch, 50).count == 100
    assert f"99 episodes to write: about {disk.size_text(99 * written[0].stat().st_size)} (" in caplog.text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (940, "940 bytes"), (14_200, "14 kB"), (99_600, "100 kB"), (110_000, "0.11 MB"),
        (570_000, "0.57 MB"), (9_990_000, "10 MB"), (31_400_000, "31 MB"), (57_285e6, "57.3 GB"),
    ],
)  # fmt: skip
def test_sizes_are_said_as_people_read_them(size: float, text: str) -> None:
    assert disk.size_text(size) == text


def test_the_estimate_is_of_the_right_size(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    """It grows as pictures do; how near it comes to real scenes is tested with the environments."""
    plain = {codec: disk.episode_bytes(LiberoConfig(size=128), 100, codec) for codec in ("raw", "webp", "delta")}
    assert plain["raw"] > plain["webp"] > plain["delta"]
    assert plain["raw"] > 101 * 128 * 128 * 3
    rich = disk.episode_bytes(LiberoConfig(size=128, streams=("wrist", "depth", "segmentation")), 100, "delta")
    assert 2 * plain["delta"] < rich < plain["raw"] * 2


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 episodes of 1 MB pass; neither the parent nor its worker grows with them."""
    grown: dict[str, list[float]] = {"parent": [], "worker": []}
    parent = psutil.Process()

    def watch(stage: str, step: int, metrics: object) -> None:
        if step in (60, 300):
            grown["parent"].append(parent.memory_info().rss / 1e6)
            grown["worker"].append(sum(child.memory_info().rss for child in parent.children()) / 1e6)

    monkeypatch.setattr(collect, "run_expert", jobs.large)
    with EnvPool(1) as pool:
        collect.run(collect.CollectConfig(clean=150, faulty=0), jobs.inputs(pool), tmp_path / "run", watch)
    for who, (early, late) in grown.items():
        assert late - early < 20, (who, early, late)
        assert early > 20


def test_a_long_list_is_quick(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    """Headers only: 1,000 summaries take less than a fifth of reading as many episodes would."""
    path = write_episode(tmp_path, make_episode(size=64, length=80))
    for i in range(1, 1000):
        os.link(path, tmp_path / f"e{i}.safetensors")
    episodes = EpisodeSet(tmp_path)
    begin = time.process_time()
    assert len(episodes.summaries()) == 1000
    listing = time.process_time() - begin
    begin = time.process_time()
    for name in list(episodes.paths)[:20]:
        episodes.read(name)
    reading = (time.process_time() - begin) * 50
    assert listing < reading / 5
    assert listing < 2


def test_codecs_are_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, frames = {}, {}
    for codec in ("raw", "webp", "auto"):
        done = run(tmp_path / codec, monkeypatch, 1, function=jobs.large, codec=codec)
        sizes[codec] = sum(path.stat().st_size for path in Path(done.episodes).glob("*.safetensors"))
        frames[codec] = np.stack([episode.frames for episode in EpisodeSet(Path(done.episodes))])
    assert np.array_equal(frames["raw"], frames["webp"])
    assert np.array_equal(frames["raw"], frames["auto"])
    assert sizes["auto"] < sizes["webp"] < sizes["raw"]
    with pytest.raises(UnknownNameError, match="did you mean 'webp'"):
        collect.CollectConfig(codec="webpp")  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match="made with config codec = raw, now it is auto"):
        run(tmp_path / "raw", monkeypatch, 1)
