"""`wovr export rlinf`: one command, and RLinf's side finds all it needs, of the models that the run goes on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.cli import main
from format_sources import small_episode
from rlinf_reference import Folder, reference_velocity
from wovr_core.config import to_dict
from wovr_core.data.episode_files import write_episode
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.envs import libero_suites
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import REWARD, WORLD_MODEL, save_model, version_of
from wovr_core.reward.calibration import calibrate
from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_classifier
from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.types import NULL_ACTION, Episode, TaskId
from wovr_core.world_model.model import WanConfig, WorldModel, WorldModelConfig, build
from wovr_core.world_model.wan_codec import WanCodecConfig

SIZE = 32


def episodes_of(suite: str, size: int = SIZE) -> list[Episode]:
    task = libero_suites.tasks(suite)[3]
    made = [small_episode(f"e{i}", length=12, size=size, seed=i) for i in range(2)]
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, episode.frames.shape).astype(np.uint8) for episode in made]
    return [
        replace(e, frames=n, task=TaskId(suite, task.task, task.instruction), sim_states=np.zeros((13, 4)))
        for e, n in zip(made, noise, strict=True)
    ]


def world_model(seed: int) -> WorldModel:
    codec = WanCodecConfig(
        image_size=SIZE, base_dim=4, decoder_base_dim=4, latent_channels=2, dim_mult=(1, 2, 2), num_res_blocks=1,
        temporal_downsample=(True, True), latents_mean=(0.0, 0.1), latents_std=(1.0, 0.9),
    )  # fmt: skip
    wan = WanConfig(codec=codec, ffn_dim=40)
    model = build(WorldModelConfig(wan=wan, layers=2, heads=2, head_dim=12, patch=2, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.transformer.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def make_run(run: Path, episodes: list[Episode], promoted: bool) -> dict[str, WorldModel]:
    """A run with a first and a refined world model, the latter in use or kept apart."""
    (run / "collect").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for episode in episodes:
        write_episode(run / "collect" / "episodes", episode)
    write_keyframes(
        run / "keyframes" / "keyframes.safetensors", [keyframe(e, s, "contact") for e in episodes for s in (4, 9)]
    )
    models = {"world_model": world_model(1), "refine": world_model(2)}
    outputs = {"world_model": {"world_model": ""}, "refine": {"world_model_promoted": promoted}}
    for stage, model in models.items():
        save_model(run / stage / WORLD_MODEL, WORLD_MODEL, model, lineage={})
        (run / stage / "outputs.json").write_text(json.dumps({"outputs": outputs[stage], "seconds": 1.0}))
    return models


@pytest.mark.parametrize(("suite", "promoted"), [("libero_object", False), ("libero_goal", True)])
@torch.no_grad()
def test_one_command_gives_rlinf_all_it_needs(suite: str, promoted: bool, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    episodes, run, out = episodes_of(suite), tmp_path / "r", tmp_path / "out"
    models = make_run(run, episodes, promoted)
    command = ["export", "rlinf", "--run", str(run), "--out", str(out), "--envs", "6", "--group", "3"]
    command += ["--size", str(SIZE), "--any-size"]
    assert main(command) == 1
    assert "MISSING reward model" in capsys.readouterr().out
    training = [f"--reward-set={setting}" for setting in ("steps=2", "batch=4", "held_out=1")]
    with torch.enable_grad():
        assert main([*command, "--train-reward", *training]) == 0
    assert "Complete" in capsys.readouterr().out

    theirs = Folder(out / f"wan_{suite}_grpo.yaml")
    assert theirs.train["task_suite_name"] == suite
    starts = [theirs.start(path) for path in theirs.files]
    by_name = dict(zip((path.name for path in theirs.files), starts, strict=True))
    for i, episode in enumerate(episodes):
        start = by_name[f"traj{i}.npy"]
        np.testing.assert_array_equal(start.frames, np.repeat(episode.frames[:1], 5, axis=0))
        np.testing.assert_array_equal(start.actions, np.repeat(NULL_ACTION[None], 5, axis=0))
        assert start.task == episode.task.instruction
        for j, step in enumerate((4, 9)):
            start = by_name[f"traj{2 + 2 * i + j}_kir.npy"]
            np.testing.assert_array_equal(start.frames, episode.frames[[0, *range(step - 3, step + 1)]])
            np.testing.assert_array_equal(start.actions[0], NULL_ACTION)
            np.testing.assert_array_equal(start.actions[1:], episode.actions[step - 4 : step])

    used, other = models["refine" if promoted else "world_model"], models["world_model" if promoted else "refine"]
    generator = torch.Generator().manual_seed(0)
    latents, actions = torch.randn(1, 4, 2, 4, 4, generator=generator), torch.randn(1, 13, 7, generator=generator)
    times = torch.tensor([[0.0, 0.0, 640.0, 640.0]])
    velocity = reference_velocity(theirs.transformer, latents.transpose(1, 2), times, actions).transpose(1, 2)
    torch.testing.assert_close(used.transformer.velocity(latents, times, actions), velocity, rtol=1e-3, atol=1e-3)
    assert (other.transformer.velocity(latents, times, actions) - velocity).abs().max() > 0.1
    assert sum(t.numel() for t in theirs.vae.values()) == sum(t.numel() for t in used.codec.net.state_dict().values())

    ours = TaskEmbedReward([t.instruction for t in libero_suites.tasks(suite)]) if promoted else ResnetReward()
    ours.load_state_dict(torch.load(run / "rlinf_reward" / ours.file, weights_only=True))
    frames, instruction = torch.from_numpy(episodes[0].frames), episodes[0].task.instruction
    number = sorted(t.instruction for t in libero_suites.tasks(suite)).index(instruction)
    torch.testing.assert_close(
        theirs.success(frames, number), ours.eval()(frames, [instruction] * 13), rtol=1e-4, atol=1e-5
    )


def add_classifier(run: Path, episodes: list[Episode]) -> None:
    """The run's own classifier, in the run's own format, with a threshold that some of its frames pass."""
    classifier = build_classifier(RewardConfig(image_size=SIZE, width=8))
    frames = torch.from_numpy(np.concatenate([episode.frames for episode in episodes]))
    embedding = embed_tensor([episodes[0].task.instruction]).expand(len(frames), -1)
    threshold = float(classifier.p_success(frames, embedding).median())
    calibration = calibrate([np.array([0.0, 1.0]), np.array([0.0, 0.5])], [np.array([False, True]), np.zeros(2, bool)])
    extra = {"calibration": replace(calibration, threshold=threshold).to_dict()}
    save_model(run / REWARD / REWARD, REWARD, classifier, lineage={}, extra=extra)
    config = {"config": to_dict(RewardTrainingConfig(imagined_chunks=3))}
    (run / REWARD / "config.json").write_text(json.dumps(config))
    (run / REWARD / "outputs.json").write_text(json.dumps({"outputs": {}, "seconds": 1.0}))


def test_the_run_s_own_classifier_is_exported_in_rlinf_s_network(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    episodes, run, out = episodes_of("libero_object"), tmp_path / "r", tmp_path / "out"
    make_run(run, episodes, promoted=False)
    add_classifier(run, episodes)
    command = ["export", "rlinf", "--run", str(run), "--out", str(out), "--envs", "6", "--group", "3"]
    command += ["--size", str(SIZE), "--any-size"]
    training = [f"--reward-set={setting}" for setting in ("steps=2", "batch=4", "held_out=1")]
    assert main([*command, "--own-reward", *training]) == 0
    told = capsys.readouterr().out
    assert "Complete" in told
    done = json.loads((run / "rlinf_reward_own" / "outputs.json").read_text())["outputs"]
    assert f"reward model: says success of {done['teacher_positives']:.0%}" in told
    assert done["teacher"] == f"{version_of(run / REWARD / REWARD)},{version_of(run / WORLD_MODEL / WORLD_MODEL)}"
    made = torch.load(run / "rlinf_reward_own" / ResnetReward.file, weights_only=True)
    ours = ResnetReward()
    ours.load_state_dict(made)
    theirs = Folder(out / "wan_libero_object_grpo.yaml")
    frames = torch.from_numpy(episodes[0].frames)
    with torch.no_grad():
        torch.testing.assert_close(theirs.success(frames, 0), ours.eval()(frames), rtol=1e-4, atol=1e-5)
    (out / ResnetReward.file).unlink()
    assert main(command) == 0  # what the run has made before is found
    again = torch.load(out / ResnetReward.file, weights_only=True)
    assert torch.equal(again["net.7.weight"], made["net.7.weight"])


def test_what_is_there_is_kept_and_what_is_stale_goes(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    episodes, run, out = episodes_of("libero_object"), tmp_path / "r", tmp_path / "out"
    make_run(run, episodes, promoted=False)
    command = ["export", "rlinf", "--run", str(run), "--out", str(out), "--envs", "6", "--group", "3"]
    command += ["--size", str(SIZE)]
    assert main(command) == 1
    told = capsys.readouterr().out
    assert "MISSING world model: RLinf reads world models of the published size only" in told
    files = {path: path.stat().st_mtime_ns for path in (out / "dataset").iterdir()}
    assert len(files) == 6
    torn = min(files)
    torn.unlink()
    # Somebody's own models beside dataset/ are taken for what they are.
    for name in ("model-00001.safetensors", "Wan2.2_VAE.pth", TaskEmbedReward.file):
        (out / name).write_bytes(b"")
    assert main(command) == 0
    assert "taskemb_resnet_rm.pth that lies there is kept" in capsys.readouterr().out
    assert TaskEmbedReward.file in (out / "wan_libero_object_grpo.yaml").read_text()
    now = {path: path.stat().st_mtime_ns for path in (out / "dataset").iterdir()}
    assert {path for path in now if now[path] != files[path]} == {torn}
    (run / "keyframes" / "keyframes.safetensors").unlink()
    command[command.index("--envs") + 1 : command.index("--size")] = ["2", "--group", "2"]
    assert main(command) == 0
    assert "the run has no keyframes" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "dataset").iterdir()) == ["traj0.npy", "traj1.npy"]


def test_mistakes_are_answered_before_anything_is_written(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    run, out = tmp_path / "r", tmp_path / "out"
    make_run(run, episodes_of("libero_object"), promoted=False)
    command = ["export", "rlinf", "--run", str(run), "--out", str(out)]
    for flags, message in (
        (["--envs", "16"], "6 starts are too few for 16"),
        (["--envs", "6"], "6 environments are no whole groups of 8"),
        (["--reward-set", "steps=2"], "--train-reward"),
        (["--reward", str(tmp_path / "none.pth")], "none.pth is missing"),
        (["--reward", "x.pth", "--train-reward"], "say one of them"),
        (["--own-reward", "--train-reward"], "say one of them"),
        (["--own-reward"], "has no world model and classifier of its own yet"),
        (["--train-reward", "--reward-set", "stepz=2"], "did you mean"),
        (["--train-reward"], "held_out is 20 of 2 episodes"),
    ):
        assert main([*command, *flags]) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
        assert not (run / "rlinf_reward").exists()
    write_episode(run / "import" / "episodes", replace(small_episode(), task=TaskId("foreign", 0, "wave")))
    assert main([*command, "--stage", "import"]) == 2
    assert "libero_object" in capsys.readouterr().err
