"""The starter pack: whole, small, faithful; unpacked once, verified, and never over somebody's changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.run_data import RunData
from workbench.starter import DATA
from workbench.starter.rounding import psnr, rounded
from workbench.starter.unpack import demo_run, manifest, unpack
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json, sha256_file, write_bytes, write_json


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of three small files."""
    data = tmp_path / "data"
    write_json(data / "run" / "run.json", {"schema": 1, "recipe": "demo", "config": {}})
    write_json(data / "run" / "sft" / "outputs.json", {"outputs": {"policy": "@RUN@/sft/policy"}, "seconds": 1.0})
    write_bytes(data / "run" / "sft" / "notes.txt", b"@RUN@ stays here\n")
    files = {str(p.relative_to(data / "run")): sha256_file(p) for p in (data / "run").rglob("*") if p.is_file()}
    write_json(data / "manifest.json", {"schema": 1, "files": files})
    return data


def test_the_run_appears_whole_with_its_own_places(pack: Path, tmp_path: Path) -> None:
    found = unpack(pack, tmp_path / "runs")
    assert found.path == tmp_path / "runs" / "starter"
    assert len(found.written) == 3
    outputs = read_json(found.path / "sft" / "outputs.json")["outputs"]
    assert outputs == {"policy": str(found.path / "sft" / "policy")}
    assert (found.path / "sft" / "notes.txt").read_text() == "@RUN@ stays here\n", "only outputs.json is filled in"
    again = unpack(pack, tmp_path / "runs")
    assert (again.written, again.changed) == ((), ())


def test_changes_stay_and_what_is_missing_comes_back(pack: Path, tmp_path: Path) -> None:
    run = unpack(pack, tmp_path / "runs").path
    (run / "sft" / "notes.txt").write_text("mine")
    (run / "run.json").unlink()
    found = unpack(pack, tmp_path / "runs")
    assert found.written == ("run.json",)
    assert found.changed == ("sft/notes.txt",)
    assert (run / "sft" / "notes.txt").read_text() == "mine"


def test_a_damaged_pack_is_refused_before_anything_is_written(pack: Path, tmp_path: Path) -> None:
    (pack / "run" / "sft" / "notes.txt").write_text("tampered")
    with pytest.raises(CorruptFileError, match=r"notes\.txt is damaged"):
        unpack(pack, tmp_path / "runs")
    assert not (tmp_path / "runs" / "starter").exists()
    write_json(pack / "manifest.json", {"schema": 1, "files": {"../../secret": "0"}})
    with pytest.raises(CorruptFileError, match="outside of the pack"):
        unpack(pack, tmp_path / "runs")
    shutil.rmtree(pack)
    with pytest.raises(WovrError, match="wovr demo"):
        unpack(pack, tmp_path / "runs")


def test_a_demo_run_of_ones_own_comes_first(make_run: Callable[..., Path], tmp_path: Path) -> None:
    own = make_run(tmp_path / "runs", "mine")
    assert demo_run(tmp_path / "runs") == own.resolve()
    assert not (tmp_path / "runs" / "starter").exists()


def test_matrices_are_rounded_and_the_rest_is_left() -> None:
    matrix, vector = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), torch.ones(2000)
    assert rounded(matrix).dtype == torch.bfloat16
    assert (rounded(matrix).float() - matrix).abs().max() <= matrix.abs().max() / 256
    assert rounded(vector).dtype == torch.float32
    assert rounded(torch.ones(2, 3)).dtype == torch.float32
    assert rounded(torch.ones(64, 64, dtype=torch.int64)).dtype == torch.int64
    black = np.zeros((1, 2, 2, 3), np.uint8)
    assert psnr(black, black) == 99
    assert psnr(black, black + 255) == pytest.approx(0)


def test_the_pack_that_is_shipped(tmp_path: Path) -> None:
    """Small enough; opens as a run; its weights draw its rollouts again."""
    from workbench.branch import keyframe_of, reopen
    from wovr_core.imagination import imagine_actions

    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 12_000_000
    run = unpack(runs=tmp_path / "runs").path
    data = RunData(run)
    figures = manifest()["figures"]
    for key, stage in (("real_success_before", "evaluate_base"), ("real_success_after", "evaluate")):
        outputs = data.outputs(stage)
        assert outputs is not None
        assert figures[key] == [outputs["successes"], outputs["trials"]]
    rows = read_json(run / "audit" / "all_rows.json")
    imagined = [r for r in rows if r["imagined_success"]]
    assert figures["false_success"] == [sum(not r["real_success"] for r in imagined), len(imagined)]
    assert manifest()["precision"]["psnr_worst"] > 40
    rollout = data.rollout(data.audit_rows()[0]["rollout_id"])
    assert rollout.versions["world_model"] == manifest()["models"]["world_model"]
    frames, p_success = imagine_actions(
        reopen(data, rollout), keyframe_of(rollout), rollout.actions, rollout.sampler_seed
    )
    assert psnr(frames, rollout.frames) > 35
    np.testing.assert_allclose(p_success, rollout.p_success, atol=0.15)
