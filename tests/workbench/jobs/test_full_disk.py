"""A disk that is full at whichever write of a checkpoint: the one before loads, and the message names the cause."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from wovr_core.checkpoints import load_checkpoint, newest_complete
from wovr_core.errors import WovrError
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.training import KIND, Training

pytestmark = pytest.mark.fault
PAGE = 4096


@dataclass(frozen=True)
class _Config:
    width: int = 64


def train(folder: Path, steps: int, save_every: float = 0.0, before_saving=lambda step: None) -> torch.nn.Module:
    """A linear layer learning from noise that depends on the step alone; `before_saving` is called in each step."""
    stage = StageFolder(folder, "linear", _Config(), {})
    layer = torch.nn.Linear(64, 64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
    with Training(
        stage, steps=steps, modules={"layer": layer}, optimizer=optimizer, save_every_seconds=save_every
    ) as training:
        for step in training:
            inputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(step))
            loss = (layer(inputs) - inputs.flip(1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            before_saving(step)
    return layer


def leave_free(disk: Path, pages: int) -> Path:
    """Fill the disk but for so many pages."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            file.truncate(max(0, file.tell() - pages * PAGE))
    return filler


def test_the_previous_checkpoint_survives_a_disk_full_at_any_write(small_disk, tmp_path):
    reference = train(tmp_path / "reference", steps=6)
    failed_at, steps = set(), set()
    for pages in range(60):
        folder = small_disk / f"run{pages}"

        def fill(step: int, pages: int = pages) -> None:
            if step == 3:
                leave_free(small_disk, pages)

        complaint = None
        try:
            train(folder, steps=6, before_saving=fill)
        except WovrError as error:
            complaint = str(error)
        if complaint is not None:
            failed_at.add(pages)
            assert "No space left on device" in complaint
            assert "MB free there" in complaint
            assert str(folder) in complaint
            newest = newest_complete(folder / "training")
            saved = load_checkpoint(newest, KIND).extra["step"]  # reads every byte again
            assert saved >= 3
            steps.add(saved)
            assert not list((folder / "training").glob(".*"))
        (small_disk / "filler").unlink()
        layer = train(folder, steps=6)
        assert torch.equal(layer.weight, reference.weight)
        assert torch.equal(layer.bias, reference.bias)
        shutil.rmtree(folder)
        if pages not in failed_at:
            break
    # Weights and two moments are 48 KB: the disk was full at their every page, at the manifest, at the folder's.
    assert failed_at == set(range(len(failed_at)))
    assert 12 <= len(failed_at) < 60
    assert 3 in steps
