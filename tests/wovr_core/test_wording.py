from types import SimpleNamespace

import pytest

from wovr_core.errors import WovrError
from wovr_core.stages import disk
from wovr_core.wording import counted


def test_one_is_singular_and_everything_else_plural():
    assert [counted(n, "episode") for n in (0, 1, 2)] == ["0 episodes", "1 episode", "2 episodes"]


def test_a_disk_without_room_for_one_episode_says_so_in_the_singular(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(WovrError, match=f"1 episode needs about 5 MB, {tmp_path} has 10 bytes free"):
        disk.DiskBudget(tmp_path, 1, 5_000_000)
