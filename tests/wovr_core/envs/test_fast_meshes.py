"""Meshes for fast drawing: which may be thinned out, their cache, and the hook that lets LIBERO load them."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from wovr_core.envs import libero_render
from wovr_core.envs.libero_render import fast_meshes, lod_file, moving_meshes, visual_meshes
from wovr_core.envs.mesh_files import Mesh, load_mesh, obj_text
from wovr_core.envs.mesh_lod import BudgetConfig
from wovr_core.errors import UnknownNameError, WovrError

ONE = (1.0, 1.0, 1.0)
BUDGET = BudgetConfig(minimum=100, maximum=100)


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    import trimesh

    shape = trimesh.creation.icosphere(subdivisions=4)
    path = tmp_path / "ball.obj"
    path.write_text(obj_text(Mesh(np.asarray(shape.vertices), np.asarray(shape.faces))))
    return path


# ------------------------------------------------------------------------------- what may be thinned out


def test_only_meshes_that_neither_collide_nor_weigh_are_visual() -> None:
    root = ET.fromstring(
        """<mujoco><compiler inertiagrouprange="0 0"/><worldbody><body>
        <geom mesh="seen" contype="0" conaffinity="0" group="1"/>
        <geom mesh="struck" group="1"/>
        <geom mesh="half" contype="0" group="1"/>
        <geom mesh="both" contype="0" conaffinity="0" group="1"/><geom mesh="both" group="1"/>
        <geom mesh="heavy" contype="0" conaffinity="0" group="0"/>
        <geom mesh="massless" contype="0" conaffinity="0" group="0" mass="0"/>
        </body></worldbody><asset><mesh name="unused" file="/x.obj"/></asset></mujoco>"""
    )
    assert visual_meshes(root) == {"seen", "massless"}


def test_only_what_a_joint_moves_is_moving() -> None:
    root = ET.fromstring(
        """<mujoco><worldbody><geom mesh="wall"/><body><geom mesh="case"/>
        <body><joint/><geom mesh="drawer"/><body><geom mesh="handle"/></body></body></body>
        <body><freejoint/><geom mesh="cup"/></body></worldbody></mujoco>"""
    )
    assert moving_meshes(root) == {"drawer", "handle", "cup"}


def test_without_a_group_range_every_geom_weighs() -> None:
    root = ET.fromstring('<mujoco><geom mesh="m" contype="0" conaffinity="0" group="1"/></mujoco>')
    assert visual_meshes(root) == set()


# ------------------------------------------------------------------------------------------------- cache


def test_the_cache_goes_by_content(ball: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = lod_file(ball, ONE, BUDGET, folder)
    assert len(load_mesh(first).faces) <= 120
    copy = tmp_path / "copy.obj"
    copy.write_bytes(ball.read_bytes())
    assert lod_file(copy, ONE, BUDGET, folder) == first
    copy.write_text(ball.read_text() + "v 0 0 0\n")
    assert lod_file(copy, ONE, BUDGET, folder) != first
    assert lod_file(ball, ONE, BudgetConfig(minimum=50, maximum=50), folder) != first


def test_what_is_cached_is_not_built_again(ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = lod_file(ball, ONE, BUDGET, tmp_path)

    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(libero_render, "simplify", fail)
    assert lod_file(ball, ONE, BUDGET, tmp_path) == entry


@pytest.mark.fault
@pytest.mark.parametrize("damage", [b"", b"# sealed sha256 0\nv 0 0 0\n", b"\xff\xfe"])
def test_a_damaged_entry_is_built_again(ball: Path, tmp_path: Path, damage: bytes) -> None:
    entry = lod_file(ball, ONE, BUDGET, tmp_path / "cache")
    whole = entry.read_bytes()
    entry.write_bytes(damage or whole[: len(whole) // 2])
    assert lod_file(ball, ONE, BUDGET, tmp_path / "cache") == entry
    assert entry.read_bytes() == whole


def test_a_mesh_within_its_budget_is_used_itself(ball: Path, tmp_path: Path) -> None:
    generous = BudgetConfig(minimum=10**6, maximum=10**6)
    for _ in range(2):
        assert lod_file(ball, ONE, generous, tmp_path / "cache") == ball


@pytest.mark.fault
def test_two_processes_may_build_at_once(ball: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from wovr_core.envs.libero_render import lod_file;"
        "from wovr_core.envs.mesh_lod import BudgetConfig;"
        "b = BudgetConfig(minimum=100, maximum=100);"
        "print(lod_file(Path(sys.argv[1]), (1.0, 1.0, 1.0), b, Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(ball), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [Path(outputs[0].strip()).name]


@pytest.mark.fault
def test_a_cache_that_cannot_be_written_is_named(ball: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WovrError, match=r"cannot write .*file/cache/.*\.obj: .*WOVR_HOME"):
        lod_file(ball, ONE, BUDGET, tmp_path / "file" / "cache")


# -------------------------------------------------------------------------------------------------- hook


def test_the_hook_is_gone_afterwards_whatever_happens() -> None:
    from robosuite.models.base import MujocoXML

    stock = MujocoXML.get_xml
    with fast_meshes("fast"):
        assert MujocoXML.get_xml is not stock
    assert MujocoXML.get_xml is stock
    with pytest.raises(ZeroDivisionError), fast_meshes("fast"):
        _ = 1 / 0
    assert MujocoXML.get_xml is stock
    with fast_meshes("reference"):
        assert MujocoXML.get_xml is stock


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'fast'"), fast_meshes("fats"):  # type: ignore[arg-type]
        pass
