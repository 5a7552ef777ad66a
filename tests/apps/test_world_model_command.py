"""`wovr world-model`: counts, trains on any episodes, goes on."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from apps.cli import main
from wovr_core.config import to_dict
from wovr_core.data.episode_files import write_episode
from wovr_core.model_files import WORLD_MODEL, load_world_model, save_model
from wovr_core.world_model.model import WanConfig, WorldModelConfig, build
from wovr_core.world_model.wan_codec import WanCodecConfig


@pytest.fixture
def checkpoint(tmp_path):
    codec = WanCodecConfig(
        image_size=32, base_dim=4, decoder_base_dim=4, latent_channels=2, dim_mult=(1, 2, 2), num_res_blocks=1,
        temporal_downsample=(True, True), latents_mean=(0.0, 0.1), latents_std=(1.0, 0.9),
    )  # fmt: skip
    config = WorldModelConfig(wan=WanConfig(codec=codec, ffn_dim=20), layers=1, heads=2, head_dim=6, patch=2)
    save_model(tmp_path / "checkpoint", WORLD_MODEL, build(config), lineage={})
    return config, tmp_path / "checkpoint"


def test_preflight_says_whether_it_fits(capsys):
    assert main(["world-model", "preflight", "--recipe", "gpu24", "--memory", "24", "--tflops", "165"]) == 0
    said = capsys.readouterr().out
    assert "fits" in said
    assert "M parameters" in said
    assert main(["world-model", "preflight", "--memory", "24"]) == 1
    assert "DOES NOT FIT" in capsys.readouterr().out
    assert main(["world-model", "preflight", "--recipe", "gpu24", "--gpus", "0"]) == 2
    assert "must be positive" in capsys.readouterr().err


def test_it_trains_on_a_folder_of_episodes_once(make_episode, tmp_path: Path, capsys):
    for i in range(4):
        write_episode(tmp_path / "episodes", make_episode(f"e{i}", length=9, close=3, release=6, size=32))
    command = ["world-model", "train", "--recipe", "smoke", "--episodes", str(tmp_path / "episodes")]
    command += ["--out", str(tmp_path / "out"), "--set", "world_model.transformer.steps=3"]
    command += ["--set", "world_model.autoencoder.steps=3", "--set", "world_model.transformer.large.shares=2"]
    assert main(command) == 0
    said = capsys.readouterr().out
    model, version = load_world_model(tmp_path / "out" / "world_model")
    assert f"version {version}" in said
    assert model.config.codec.image_size == 32
    config = json.loads((tmp_path / "out" / "config.json").read_text())["config"]
    assert config["transformer"]["large"]["shares"] == 2
    assert main(command) == 0
    assert f"version {version}" in capsys.readouterr().out


def test_a_world_model_goes_to_rlinf_and_back(checkpoint, tmp_path: Path, capsys):
    config, checkpoint = checkpoint
    folder, back = tmp_path / "rlinf", tmp_path / "back"
    assert main(["world-model", "export-rlinf", str(checkpoint), "--out", str(folder)]) == 2
    assert "published size" in capsys.readouterr().err
    command = ["world-model", "export-rlinf", str(checkpoint), "--out", str(folder), "--any-size"]
    assert main([*command, "--suite", "libero_object"]) == 0
    assert yaml.safe_load((folder / "wan_libero_object_grpo.yaml").read_text())["env"]["train"]["chunk"] == 8
    sizes = [f"{name}={getattr(config, name)}" for name in ("layers", "heads", "head_dim", "patch")]
    sizes += [f"wan.codec.{name}={json.dumps(value)}" for name, value in to_dict(config.wan.codec).items()]
    command = ["world-model", "import-rlinf", str(folder), "--out", str(back)]
    for size in [*sizes, f"wan.ffn_dim={config.wan.ffn_dim}"]:
        command += ["--set", size]
    assert main(command) == 0
    assert "nothing left over" in capsys.readouterr().out
    one, two = (load_world_model(path)[0].state_dict() for path in (checkpoint, back))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_pictures_of_another_size_are_refused(make_episode, tmp_path: Path, capsys):
    write_episode(tmp_path / "episodes", make_episode("e0", length=9, close=3, release=6, size=16))
    command = ["world-model", "train", "--recipe", "smoke", "--episodes", str(tmp_path / "episodes")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "--set world_model.model.codec.image_size=16, or import them with --size 32" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_without_episodes_are_refused_before_anything_is_begun(tmp_path: Path, capsys):
    for folder, message in (("none", "no episode folder"), (".", "holds no episodes")):
        for action in ("train", "rlinf-reward"):
            command = ["world-model", action, "--episodes", str(tmp_path / folder), "--out", str(tmp_path / "out")]
            assert main(command) == 2
            assert message in capsys.readouterr().err
            assert not (tmp_path / "out").exists()
