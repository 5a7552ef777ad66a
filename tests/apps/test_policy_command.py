"""`wovr policy`: a published OpenVLA-OFT folder becomes a checkpoint of ours, by one command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from apps.cli import main
from openvla_source import CONFIG, write_published
from wovr_core.model_files import load_policy
from wovr_core.policy.openvla_oft.published import load_published

SIZES = [
    "vision.image_size=28", "vision.crop=1.0", "vision.dino.width=16", "vision.dino.layers=3", "vision.dino.heads=2",
    "vision.dino.hidden=64", "vision.siglip.width=12", "vision.siglip.layers=3", "vision.siglip.heads=2",
    "vision.siglip.hidden=20", "width=24", "layers=2", "heads=2", "hidden=40", "vocabulary=300", "padded=304",
    "last_prompt_token=7",
]  # fmt: skip


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    folder = tmp_path / "published"
    folder.mkdir()
    write_published(folder)
    return ["policy", "import-openvla-oft", str(folder), "--out", str(tmp_path / "ours")]


def test_the_checkpoint_is_the_published_policy(command: list[str], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main([*command, "--unnorm-key", "libero_object", *(f"--set={size}" for size in SIZES)]) == 0
    policy, version = load_policy(tmp_path / "ours")
    assert f"version {version}" in capsys.readouterr().out
    published = load_published(tmp_path / "published", CONFIG, "libero_object")
    frames = torch.randint(0, 256, (1, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one, two = (p.act(frames, ["pick up the soup"], torch.zeros(1, 7)) for p in (policy, published))
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.actions, two.actions)


def test_mistakes_are_answered_in_a_line(command: list[str], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    for flags, message in (
        (["--dtype", "float16"], "dtype"),
        (["--unnorm-key", "libero_gaol"], "libero_gaol"),
        (["--set", "layerz=2"], "did you mean"),
        ([], "the recipe's model wants"),  # the miniature is no 7B model
    ):
        assert main([*command, *flags]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "ours").exists()
    command[2] = str(tmp_path / "nothing")
    assert main(command) == 2
    assert "there is no folder" in capsys.readouterr().err
