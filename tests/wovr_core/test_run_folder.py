"""A run's folder: it begins once, whatever comes between."""

import errno
from dataclasses import dataclass

import pytest

from wovr_core.errors import WovrError
from wovr_core.run_folder import Run, is_foreign


@dataclass(frozen=True)
class Recipe:
    name: str = "toy"


@pytest.mark.fault
def test_a_run_whose_beginning_met_a_full_disk_begins_when_there_is_room(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "run"
    with monkeypatch.context() as broken:
        broken.setattr("wovr_core.files.os.fsync", full)
        with pytest.raises(WovrError, match="then run the same command again"):
            Run(path, Recipe()).__enter__()
    assert [entry.name for entry in path.iterdir()] == [".lock"]
    (path / ".run.json.x1.tmp").write_text("{")  # as a kill leaves it
    with Run(path, Recipe()):
        assert (path / "run.json").is_file()


def test_what_is_no_run_is_told_apart(tmp_path):
    assert not is_foreign(tmp_path / "nothing")
    assert not is_foreign(tmp_path)
    (tmp_path / "thesis.tex").write_text("precious")
    assert is_foreign(tmp_path)
