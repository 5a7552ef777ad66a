"""The worked example of a plug-in, installed as pip installs it, in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wovr_core import plugins

SOURCE = Path(__file__).parent / "wovr_reach"


@pytest.fixture(scope="session")
def reach_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package and its metadata; the sources are copied, so that building leaves none behind."""
    source, site = tmp_path_factory.mktemp("source") / "wovr_reach", tmp_path_factory.mktemp("site")
    shutil.copytree(SOURCE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True, timeout=300)
    return site


def forget() -> None:
    """Look for plug-ins anew."""
    plugins._installed.cache_clear()
    plugins.load.cache_clear()


@pytest.fixture
def reach(reach_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package can be imported within the test."""
    monkeypatch.syspath_prepend(str(reach_site))
    forget()
    yield reach_site
    for name in [name for name in sys.modules if name.split(".")[0] == "wovr_reach"]:
        del sys.modules[name]
    forget()


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose plug-ins do not load, each in a way of its own."""
    folder = tmp_path / "broken"
    (folder / "wovr_broken-1.0.dist-info").mkdir(parents=True)
    (folder / "wovr_broken-1.0.dist-info" / "METADATA").write_text("Name: wovr-broken\nVersion: 1.0\n")
    (folder / "wovr_broken-1.0.dist-info" / "entry_points.txt").write_text(
        "[wovr.policies]\nexplodes = wovr_broken:NOTHING\nwrong = wovr_broken:WRONG\nunnamed = wovr_broken:UNNAMED\n"
        "[wovr.pages]\nraises = wovr_raises:PAGE\n[wovr.recipes]\ndemo2 = wovr_raises:demo2\n"
    )
    (folder / "wovr_raises.py").write_text("raise ZeroDivisionError('at import')\n")
    (folder / "wovr_broken.py").write_text(
        "from dataclasses import dataclass\nfrom wovr_core.policy.base import PolicyPlugin\nWRONG = 3\n"
        "@dataclass(frozen=True)\nclass C:\n    kind: str = 'other'\n"
        "UNNAMED = PolicyPlugin(C, build=lambda c, s: None)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    forget()
    yield folder
    forget()
