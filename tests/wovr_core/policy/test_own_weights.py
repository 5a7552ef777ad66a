"""Foreign weights: taken over exactly, or refused with what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wovr_core.errors import CheckpointMismatchError, CorruptFileError
from wovr_core.policy.own_weights import load_own
from wovr_core.policy.tiny_vla import TinyVLA, TinyVLAConfig, build

SMALL = TinyVLAConfig(image_size=32, width=16, blocks=1, keypoints=16, hidden=64)


@pytest.fixture
def policy() -> TinyVLA:
    return build(SMALL, seed=3)


def saved(path: Path, policy: TinyVLA, prefix: str = "") -> Path:
    save_file({prefix + name: t.contiguous() for name, t in policy.state_dict().items()}, path)
    return path


def test_weights_are_taken_over_to_the_bit(policy: TinyVLA, tmp_path: Path) -> None:
    loaded = load_own(saved(tmp_path / "mine.safetensors", policy), SMALL)
    assert not loaded.training
    for name, tensor in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_prefix_is_named_and_then_taken_off(policy: TinyVLA, tmp_path: Path) -> None:
    path = saved(tmp_path / "ddp.safetensors", policy, "module.")
    with pytest.raises(CheckpointMismatchError, match=r"prefix='module\.'"):
        load_own(path, SMALL)
    assert torch.equal(load_own(path, SMALL, "module.").head.weight, policy.head.weight)


def test_half_precision_is_converted(policy: TinyVLA, tmp_path: Path) -> None:
    halved = {n: t.half() if t.is_floating_point() else t for n, t in policy.state_dict().items()}
    save_file(halved, tmp_path / "half.safetensors")
    loaded = load_own(tmp_path / "half.safetensors", SMALL)
    assert loaded.head.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.head.weight, policy.head.weight, rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_is_named(policy: TinyVLA, tmp_path: Path) -> None:
    tensors = {n: t.contiguous() for n, t in policy.state_dict().items()}
    tensors["heads.weight"] = tensors.pop("head.weight")
    save_file(tensors, tmp_path / "renamed.safetensors")
    with pytest.raises(
        CheckpointMismatchError, match=r"1 of \d+ tensors are missing \(head.weight\).*did you mean 'head"
    ):
        load_own(tmp_path / "renamed.safetensors", SMALL)
    path = saved(tmp_path / "mine.safetensors", policy)
    with pytest.raises(CheckpointMismatchError, match=r"another shape \(.*another config"):
        load_own(path, TinyVLAConfig(image_size=32, width=32, blocks=1, keypoints=16, hidden=64))
    with pytest.raises(CheckpointMismatchError, match="missing"):
        load_own(path, TinyVLAConfig(image_size=32, width=16, blocks=2, keypoints=16, hidden=64))


def test_no_weights_and_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no weights at"):
        load_own(tmp_path / "none.safetensors", SMALL)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled.pt")
    with pytest.raises(CorruptFileError, match="pickled weights are not read"):
        load_own(tmp_path / "pickled.pt", SMALL)
