"""Training under accelerate: one loop, however many processes; adapters; resuming; the same result."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wovr_core.adapters import LoRAConfig, add_adapters, merge_adapters, trainable
from wovr_core.checkpoints import load_checkpoint
from wovr_core.config import to_dict
from wovr_core.data.episode_files import write_episode
from wovr_core.errors import CheckpointMismatchError, WovrError
from wovr_core.model_files import load_world_model
from wovr_core.stages import train_world_model
from wovr_core.stages.folder import read_metrics
from wovr_core.stages.train_world_model import (
    LargeTraining,
    TransformerTraining,
    WorldModelInputs,
    WorldModelTrainingConfig,
)
from wovr_core.stages.training import Training
from wovr_core.world_model.pretrained import PretrainedConfig, build_pretrained

JOBS = Path(__file__).with_name("large_jobs.py")


@pytest.fixture
def episodes(make_episode, tmp_path):
    for i in range(3):
        write_episode(tmp_path / "episodes", make_episode(f"e{i}", length=9, close=3, release=6, size=32))
    return tmp_path / "episodes"


@pytest.fixture
def config(wan_config, wan_folder):
    return WorldModelTrainingConfig(
        model=wan_config,
        pretrained=PretrainedConfig(str(wan_folder)),
        transformer=TransformerTraining(steps=3, batch=1, learning_rate=1e-2, warmup=1, large=LargeTraining()),
        held_out=1,
        horizons=(8,),
        solver_steps=1,
    )


def with_large(config, **changes):
    return replace(config, transformer=replace(config.transformer, large=LargeTraining(**changes)))


def train(config, episodes, out):
    return train_world_model.run(config, WorldModelInputs((str(episodes),), ("v",), seed=0), out)


def launch(config, episodes, out, *more, processes=2):
    settings = out.with_suffix(".json")
    settings.write_text(json.dumps(to_dict(config)))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["--num_cpu_threads_per_process", "1", str(JOBS), str(episodes), str(out), str(settings), *more]
    # With this, accelerate's launcher of several processes starts them on the CPU, talking through gloo.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=420, env=environment, check=False)


def weights(outputs_or_path):
    return load_checkpoint(Path(getattr(outputs_or_path, "world_model", outputs_or_path))).tensors


def distance(a, b):
    return sum(float((a[k].double() - b[k].double()).square().sum()) for k in a) ** 0.5


def differences(a, b):
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def test_two_shares_are_two_batches_and_an_average_is_saved_beside_the_last(config, episodes, tmp_path):
    one, two = (
        train(config, episodes, tmp_path / "one"),
        train(with_large(config, shares=2), episodes, tmp_path / "two"),
    )
    start = build_pretrained(config.model, config.pretrained).state_dict()
    assert differences(weights(one), start) > 1e-3
    assert differences(weights(one), weights(two)) > 1e-4
    assert differences(weights(one), weights(tmp_path / "one" / "world_model_last")) > 1e-5
    codec = {k: v for k, v in weights(one).items() if k.startswith("codec.")}
    assert all(torch.equal(v, start[k]) for k, v in codec.items())
    model, _ = load_world_model(Path(one.world_model))
    assert model.config.wan == config.model.wan
    plain = replace(config, transformer=replace(config.transformer, large=None))
    assert differences(weights(train(plain, episodes, tmp_path / "plain")), weights(one)) < 1e-5  # checkpointing


def test_adapters_change_nothing_learn_are_small_and_merge(config, episodes, tmp_path):
    model = build_pretrained(config.model, config.pretrained)
    generator = torch.Generator().manual_seed(0)
    latents, actions = torch.randn(2, 4, 6, 4, 4, generator=generator), torch.randn(2, 13, 7, generator=generator)
    times = torch.full((2, 4), 300.0)
    before = model.transformer.velocity(latents, times, actions)
    keys = list(model.transformer.state_dict())
    add_adapters(model.transformer, LoRAConfig(rank=3), seed=1)
    torch.testing.assert_close(model.transformer.velocity(latents, times, actions), before)
    state = trainable(model.transformer).state_dict()
    assert {k.split(".")[-4] for k in state if "lora_A" in k} == {"to_q", "to_k", "to_v", "0", "proj", "2"}
    assert {k.split(".")[1] for k in state if "lora_" not in k} == {"action_time", "action_tokens"}
    with torch.no_grad():
        for name, p in model.transformer.named_parameters():
            if "lora_B" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    adapted = model.transformer.velocity(latents, times, actions)
    assert (adapted - before).abs().max() > 1e-2
    with pytest.raises(CheckpointMismatchError, match="one side only"):
        trainable(model.transformer).load_state_dict({"x": torch.zeros(1)})
    merge_adapters(model.transformer)
    assert list(model.transformer.state_dict()) == keys
    torch.testing.assert_close(model.transformer.velocity(latents, times, actions), adapted, rtol=1e-4, atol=1e-4)
    with pytest.raises(WovrError, match=r"lora\.targets"):
        add_adapters(model.transformer, LoRAConfig(targets=("nothing",)), seed=0)


def test_adapters_resume_and_end_as_uninterrupted_ones(config, episodes, tmp_path, monkeypatch):
    config = with_large(config, lora=LoRAConfig(rank=2, alpha=4))
    whole = train(config, episodes, tmp_path / "whole")
    log = Training.log

    def torn(self, metrics):
        self._save_every = 0.0
        if self._step == 2:
            raise KeyboardInterrupt
        log(self, metrics)

    monkeypatch.setattr(Training, "log", torn)
    with pytest.raises(KeyboardInterrupt):
        train(config, episodes, tmp_path / "torn")
    monkeypatch.undo()
    saved = next((tmp_path / "torn" / "transformer").glob("step_*"))
    names = [k for k in load_checkpoint(saved).tensors if k.startswith("module.transformer.")]
    assert all("lora_" in k or "action_" in k for k in names)
    resumed = train(config, episodes, tmp_path / "torn")
    assert differences(weights(whole), weights(resumed)) == 0
    base = build_pretrained(config.model, config.pretrained).state_dict()
    changed = {k for k, v in weights(whole).items() if not torch.equal(v, base[k])}
    assert any("attn1.to_q.weight" in k for k in changed)
    assert not any("proj_out" in k or "norm" in k or k.endswith("to_q.bias") for k in changed)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("lora", [None, LoRAConfig(rank=2)])
def test_two_processes_train_what_one_does_with_two_shares(config, episodes, tmp_path, shard, lora):
    train(with_large(config, shares=2, lora=lora), episodes, tmp_path / "alone")
    done = launch(with_large(config, shard=shard, lora=lora), episodes, tmp_path / "pair")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("finished") == 2
    start = build_pretrained(config.model, config.pretrained).state_dict()
    for name in ("world_model", "world_model_last"):
        one, two = weights(tmp_path / "alone" / name), weights(tmp_path / "pair" / name)
        # Where a gradient is nothing but rounding, Adam still takes whole steps: sums in another order differ there.
        assert distance(one, two) < (0.02 if shard else 1e-3) * distance(one, start)
    lines = [m for m in read_metrics(tmp_path / "pair" / "metrics.jsonl") if m["phase"] == "transformer"]
    assert [m["step"] for m in lines] == [3]  # one process writes


@pytest.mark.slow
def test_two_processes_resume(config, episodes, tmp_path):
    config = replace(config, transformer=replace(config.transformer, steps=6))
    whole = launch(config, episodes, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-3000:]
    torn = launch(config, episodes, tmp_path / "torn", "4")
    assert torn.returncode != 0
    assert [p.name for p in (tmp_path / "torn" / "transformer").glob("step_*")] == ["step_0000004"]
    again = launch(config, episodes, tmp_path / "torn")
    assert again.returncode == 0, again.stderr[-3000:]
    assert differences(weights(tmp_path / "whole" / "world_model"), weights(tmp_path / "torn" / "world_model")) == 0
