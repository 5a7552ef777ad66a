"""Imitation that begins with a policy which somebody brings: OpenVLA-OFT as it is published, or one of ours."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from format_sources import small_episode
from openvla_source import CONFIG, write_published
from wovr_core.adapters import LoRAConfig
from wovr_core.checkpoints import load_checkpoint, newest_complete, read_manifest
from wovr_core.config import override, to_dict
from wovr_core.data.episode_files import write_episode
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.errors import CheckpointMismatchError, CorruptFileError, WovrError
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, load_policy, save_model
from wovr_core.policy.openvla_oft.published import load_published
from wovr_core.policy.sft import SFTLossConfig
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.recipes import check, smoke
from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages import train_policy_rl, train_policy_sft
from wovr_core.stages.folder import read_metrics
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.train_policy_rl import PolicyRLConfig, PolicyRLInputs
from wovr_core.stages.train_policy_sft import PolicySFTConfig, PolicySFTInputs
from wovr_core.stages.training import Training
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import WorldModelConfig
from wovr_core.world_model.model import build as build_world_model

ADAPTERS = LoRAConfig(rank=2, alpha=4, targets=("q_proj", "v_proj"))
TINY = TinyVLAConfig(image_size=32, width=16, blocks=1, keypoints=8, hidden=32, text=16)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published policy as a checkpoint of ours, as `wovr policy import-openvla-oft` leaves it."""
    folder = tmp_path_factory.mktemp("published")
    policy = load_published(write_published(folder), CONFIG, "libero_object")
    save_model(folder / "checkpoint", POLICY, policy, lineage={"openvla_oft": "published"})
    return folder / "checkpoint"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> PolicySFTInputs:
    """Two demonstrations."""
    folder = tmp_path_factory.mktemp("demonstrations")
    for i in range(2):
        write_episode(folder, small_episode(f"e{i}", length=12, size=32, seed=i))
    return PolicySFTInputs(str(folder), "d1", seed=0)


def adapted(checkpoint: Path, **changes: Any) -> PolicySFTConfig:
    config = PolicySFTConfig(checkpoint=str(checkpoint), lora=ADAPTERS, steps=4, batch=4, learning_rate=1e-2)
    return replace(config, **changes)


def test_openvla_oft_is_taught_with_adapters_interrupted_and_improved_in_imagination(
    published: Path, inputs: PolicySFTInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_policy_sft, "Training", partial(Training, save_every_seconds=0.0, log_every=1))
    config, log = adapted(published), Training.log

    def torn(self: Training, metrics: Any) -> None:
        if self._step == 2:
            raise KeyboardInterrupt
        log(self, metrics)

    monkeypatch.setattr(Training, "log", torn)
    with pytest.raises(KeyboardInterrupt):
        train_policy_sft.run(config, inputs, tmp_path / "torn")
    saved = newest_complete(tmp_path / "torn" / "training")
    assert saved is not None
    assert saved.name == "step_0000002"
    kept = [k for k in load_checkpoint(saved).tensors if k.startswith("module.policy.")]
    assert kept
    assert all("lora_" in name for name in kept), "the frozen base is not saved again"
    monkeypatch.setattr(Training, "log", log)
    taught = train_policy_sft.run(config, inputs, tmp_path / "torn")
    assert taught.version == train_policy_sft.run(config, inputs, tmp_path / "whole").version
    assert [line["step"] for line in read_metrics(tmp_path / "torn" / "metrics.jsonl")] == [1, 2, 3, 4]

    before, after = (load_policy(path)[0].state_dict() for path in (published, Path(taught.policy)))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)
    lineage = read_manifest(Path(taught.policy))["lineage"]
    assert lineage == {"demonstrations": "d1", "parent": read_manifest(published)["version"]}

    improved = one_update_in_imagination(Path(taught.policy), tmp_path, monkeypatch)
    assert improved.informative_groups == 1
    assert improved.parameter_change > 0
    assert read_manifest(Path(improved.policy))["lineage"]["parent"] == taught.version


def one_update_in_imagination(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> train_policy_rl.PolicyRLOutputs:
    """The RL stage with adapters, on four rollouts of which two win."""
    codec = AutoencoderConfig(image_size=32, width=16, latent_channels=4)
    world = build_world_model(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()
    save_model(tmp_path / WORLD_MODEL, WORLD_MODEL, world, lineage={})
    save_model(tmp_path / REWARD, REWARD, build_reward(RewardConfig(image_size=32)), lineage={})
    write_keyframes(tmp_path / "keyframes", [keyframe(small_episode(length=12, size=32), 8, "contact")])
    wins = torch.tensor([0.9, 0.1, 0.9, 0.1])
    env = WorldModelEnv(
        world,
        lambda f, texts: wins.repeat_interleave(len(f) // 4) * (len(f) > 4),
        ImaginationConfig(solver_steps=1, success_threshold=0.5),
    )
    monkeypatch.setattr(train_policy_rl, "make_env", lambda *arguments: env)
    config = PolicyRLConfig(
        updates=1, groups=1, group_size=4, chunks=1, epochs=1, learning_rate=1e-2, kept_groups=0, lora=ADAPTERS
    )
    simulator = Simulator(policy, tmp_path / WORLD_MODEL, tmp_path / REWARD)
    inputs = PolicyRLInputs(simulator, str(tmp_path / "keyframes"), "k", seed=0)
    return train_policy_rl.run(config, inputs, tmp_path / "rl")


def test_all_weights_learn_without_adapters(published: Path, inputs: PolicySFTInputs, tmp_path: Path) -> None:
    config = adapted(published, lora=None, steps=30, learning_rate=3e-3, loss=SFTLossConfig(max_shift=0, smoothing=0.1))
    config = replace(config, ema_decay=0.5)
    done = train_policy_sft.run(config, inputs, tmp_path / "sft")
    policy, before = load_policy(Path(done.policy))[0], load_policy(published)[0]
    episode = small_episode("e0", length=12, size=32)
    frames, actions = torch.from_numpy(episode.frames[:4]), torch.from_numpy(episode.actions).unfold(0, 8, 1).mT[:4]
    losses = [p.sft_loss(frames, [episode.task.instruction] * 4, actions)[0].item() for p in (before, policy)]
    assert losses[1] < 0.9 * losses[0]
    assert not torch.equal(policy.lm_head.weight, before.lm_head.weight)


def test_without_steps_the_policy_is_taken_as_it_is(published: Path, tmp_path: Path) -> None:
    nothing = PolicySFTInputs(str(tmp_path / "no demonstrations"), "", seed=0)
    done = train_policy_sft.run(adapted(published, steps=0), nothing, tmp_path / "sft")
    assert done.version == read_manifest(published)["version"]
    assert read_manifest(Path(done.policy)) == read_manifest(published)
    assert load_policy(Path(done.policy))[1] == done.version
    with pytest.raises(WovrError, match="another --run"):
        train_policy_sft.run(adapted(published, steps=2), nothing, tmp_path / "sft")


def test_a_policy_of_ours_goes_on_with_the_bins_that_it_has(inputs: PolicySFTInputs, tmp_path: Path) -> None:
    first = PolicySFTConfig(policy=TINY, steps=2, batch=4)
    base = train_policy_sft.run(first, inputs, tmp_path / "first")
    other = tmp_path / "others"
    episode = small_episode("slow", length=12, size=32)
    write_episode(other, replace(episode, actions=episode.actions / 5))
    config = PolicySFTConfig(checkpoint=base.policy, steps=2, batch=4)
    done = train_policy_sft.run(config, PolicySFTInputs(str(other), "d2", seed=0), tmp_path / "second")
    before, after = (load_policy(Path(path))[0] for path in (base.policy, done.policy))
    assert after.config == TINY
    for name, bins in before.action_bins.state_dict().items():
        assert torch.equal(after.action_bins.state_dict()[name], bins)
    assert not torch.equal(before.head.weight, after.head.weight)


def test_mistakes_are_told_before_a_step_is_made(published: Path, inputs: PolicySFTInputs, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="there is no checkpoint at"):
        train_policy_sft.run(adapted(tmp_path / "nowhere"), inputs, tmp_path / "a")
    save_model(tmp_path / "reward", REWARD, build_reward(RewardConfig(image_size=32)), lineage={})
    with pytest.raises(CheckpointMismatchError, match="holds a reward, but a policy is wanted"):
        train_policy_sft.run(adapted(tmp_path / "reward"), inputs, tmp_path / "b")
    with pytest.raises(WovrError, match=r"lora\.targets \['to_q'\]; those of this network end in .*q_proj"):
        train_policy_sft.run(adapted(published, lora=LoRAConfig(targets=("to_q",))), inputs, tmp_path / "c")


def test_a_recipe_is_checked_against_the_checkpoint(published: Path, tmp_path: Path) -> None:
    wide = override(smoke(), ["sft.policy.image_size=64", f"sft.checkpoint={published}", "sft.lora.rank=4"])
    check(wide)  # OpenVLA-OFT scales its pictures, and sft.policy is not used
    assert wide.sft.lora == LoRAConfig(rank=4)
    assert override(wide, ["sft.checkpoint=null", "sft.lora=null", "sft.policy.image_size=32"]) == smoke()
    save_model(tmp_path / "tiny", POLICY, build(replace(TINY, image_size=64)), lineage={})
    with pytest.raises(WovrError, match=r"frame sizes must agree.* sft\.checkpoint=64"):
        check(override(smoke(), [f"sft.checkpoint={tmp_path / 'tiny'}"]))
    with pytest.raises(CorruptFileError, match="there is no checkpoint at"):
        check(override(smoke(), ["sft.checkpoint=nowhere"]))


def test_runs_that_were_made_before_go_on() -> None:
    """What a new setting is not used for is written as it was: keys of stages and rows stay what they are."""
    assert not {"checkpoint", "lora"} & set(to_dict(smoke())["sft"])
    assert to_dict(smoke(), whole=True)["sft"]["lora"] is None
    assert to_dict(PolicySFTConfig(checkpoint="x"))["checkpoint"] == "x"
