import json

import pytest
import torch

from wovr_core.checkpoints import is_complete, load_checkpoint, newest_complete, read_manifest, save_checkpoint
from wovr_core.errors import CheckpointMismatchError, CorruptFileError


def save(path, value=1.0, kind="policy"):
    return save_checkpoint(path, kind, {"width": 2}, {"w": torch.full((2, 2), value)}, lineage={"data": "abc"})


def test_round_trip_and_version(tmp_path):
    version = save(tmp_path / "c")
    loaded = load_checkpoint(tmp_path / "c", "policy")
    assert loaded.version == version
    assert loaded.lineage == {"data": "abc"}
    assert torch.equal(loaded.tensors["w"], torch.ones(2, 2))
    assert save(tmp_path / "same") == version
    assert save(tmp_path / "other", 2.0) != version


def test_saving_again_replaces(tmp_path):
    save(tmp_path / "c", 1.0)
    save(tmp_path / "c", 2.0)
    assert load_checkpoint(tmp_path / "c").tensors["w"][0, 0] == 2.0
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.fault
def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    save(tmp_path / "c", 1.0)
    (tmp_path / "c").rename(tmp_path / ".c.old")
    assert load_checkpoint(tmp_path / "c").tensors["w"][0, 0] == 1.0


@pytest.mark.fault
def test_damage_is_found(tmp_path):
    save(tmp_path / "c")
    weights = tmp_path / "c" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CorruptFileError, match="sha256"):
        load_checkpoint(tmp_path / "c")
    weights.unlink()
    with pytest.raises(CorruptFileError):
        load_checkpoint(tmp_path / "c")


@pytest.mark.fault
def test_without_a_manifest_it_is_no_checkpoint(tmp_path):
    save(tmp_path / "step_10")
    save(tmp_path / "step_9")
    (tmp_path / "step_10" / "manifest.json").unlink()
    assert not is_complete(tmp_path / "step_10")
    assert newest_complete(tmp_path) == tmp_path / "step_9"


def test_another_kind_or_schema_is_refused(tmp_path):
    save(tmp_path / "c", kind="reward")
    with pytest.raises(CheckpointMismatchError, match="holds a reward, but a policy is wanted"):
        load_checkpoint(tmp_path / "c", "policy")
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_text(json.dumps(read_manifest(tmp_path / "c") | {"schema": 99}))
    with pytest.raises(CheckpointMismatchError, match="schema 99"):
        load_checkpoint(tmp_path / "c")


def test_another_shape_is_refused(tmp_path):
    save(tmp_path / "c")
    module = torch.nn.Module()
    module.w = torch.nn.Parameter(torch.zeros(3, 2))
    with pytest.raises(CheckpointMismatchError, match="tensor w"):
        load_checkpoint(tmp_path / "c").load_into(module, tmp_path / "c")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CorruptFileError, match="there is no checkpoint at"):
        load_checkpoint(tmp_path / "nothing")
    assert newest_complete(tmp_path / "nothing") is None
