"""`wovr world-model`: counts, trains on any episodes, goes on."""

import json
from pathlib import Path

from apps.cli import main
from wovr_core.data.episode_files import write_episode
from wovr_core.model_files import load_world_model


def test_preflight_says_whether_it_fits(capsys):
    assert main(["world-model", "preflight", "--recipe", "gpu24", "--memory", "24", "--tflops", "165"]) == 0
    said = capsys.readouterr().out
    assert "fits" in said
    assert "M parameters" in said
    assert main(["world-model", "preflight", "--memory", "24"]) == 1
    assert "DOES NOT FIT" in capsys.readouterr().out


def test_it_trains_on_a_folder_of_episodes_once(make_episode, tmp_path: Path, capsys):
    for i in range(4):
        write_episode(tmp_path / "episodes", make_episode(f"e{i}", length=17, close=3, release=9, size=32))
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
