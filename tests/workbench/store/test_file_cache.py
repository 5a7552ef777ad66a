"""Files made once, lazily, and dropped by size, the least used first."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.opening import payload_of
from workbench.catalogue.payloads import Payloads
from workbench.store.file_cache import FileCache


def never() -> bytes:
    raise AssertionError("made twice")


def test_made_once_even_by_several_askers(tmp_path: Path) -> None:
    cache, made, answers = FileCache(tmp_path, 10**6), [], []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.1)
        return b"x"

    threads = [threading.Thread(target=lambda: answers.append(cache.get("aa1", make))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, answers) == ([1], [b"x"] * 6)
    assert FileCache(tmp_path, 10**6).get("aa1", never) == b"x"


def test_the_least_used_go_first_and_the_budget_holds(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1000)
    for n in range(9):
        cache.get(f"k{n}", lambda: b"x" * 100)
        os.utime(tmp_path / f"k{n}"[:2] / f"k{n}", (n, n))
    cache.get("k0", never)  # used again: now the latest
    for n in range(9, 14):
        cache.get(f"k{n}", lambda: b"x" * 100)
        assert cache.size() <= 1000
    assert cache.get("k0", never) == b"x" * 100
    with pytest.raises(AssertionError):
        cache.get("k1", never)


def test_one_file_beyond_the_budget_is_still_answered(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10)
    assert cache.get("big", lambda: b"x" * 100) == b"x" * 100


@pytest.mark.security
@pytest.mark.parametrize("key", ["../x1", "a/b", "", ".hidden", "a\x00b", "x" * 200])
def test_keys_are_no_paths(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        FileCache(tmp_path, 10).get(key, never)


def test_payloads_come_back_as_they_went_and_damage_is_noticed(make_run: Callable[..., Path], tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a")
    catalogue = Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0))
    item = catalogue.find("a/imagine/r-false")
    assert item is not None
    payloads = Payloads(tmp_path / "packs")
    fresh = payload_of(item)
    for _ in range(2):
        kept = payloads.get(item)
        assert kept.packs == fresh.packs
        assert kept.meta["curves"] == fresh.meta["curves"]
    (file,) = (tmp_path / "packs").glob("*/*")
    data = bytearray(file.read_bytes())
    data[-5] ^= 255
    file.write_bytes(data)
    assert payloads.get(item).packs == fresh.packs
    catalogue.close()
