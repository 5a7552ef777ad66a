"""OpenVLA-OFT from published names: numbers against a forward pass that knows those names only, and a whole RL update.

The reference below is written from the published architecture (timm's vision transformers, Llama); it shares nothing
with the implementation but the checkpoint's file.
"""

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from openvla_source import CONFIG, DINO, SIGLIP, STATISTICS, write_published
from wovr_core.adapters import LoRAConfig, add_adapters, merge_adapters, trainable
from wovr_core.checkpoints import load_checkpoint
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.errors import CorruptFileError, MissingDependencyError, UnknownNameError, WovrError
from wovr_core.foreign_weights import without_values
from wovr_core.imagination import imagine_groups
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, load_policy, save_model
from wovr_core.policy.openvla_oft.actions import ActionStatistics, ActionTokens, read_statistics
from wovr_core.policy.openvla_oft.policy import OpenVLAOFT, OpenVLAOFTConfig
from wovr_core.policy.openvla_oft.published import load_published
from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_reward
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.stages import train_policy_rl
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.train_policy_rl import GroupTally, PolicyRLConfig, PolicyRLInputs, learn
from wovr_core.stages.training import Training
from wovr_core.types import TaskId
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import WorldModelConfig
from wovr_core.world_model.model import build as build_world_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("openvla"))


@pytest.fixture
def policy(folder):
    return load_published(folder, CONFIG, "libero_object")


@pytest.fixture
def frames():
    return torch.randint(0, 256, (3, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


TASKS = ["Pick up the soup", "place it in the basket", "pick up the soup please and place it in the basket"]


def reference_tower(s, p, pixels, tower):
    d, heads = tower.width, tower.heads
    x = F.conv2d(pixels, s[f"{p}.patch_embed.proj.weight"], s[f"{p}.patch_embed.proj.bias"], stride=14).flatten(2).mT
    x = x + s[f"{p}.pos_embed"]
    extra = 0
    if f"{p}.cls_token" in s:
        extra = 5
        ahead = torch.cat([s[f"{p}.cls_token"], s[f"{p}.reg_token"]], 1).expand(len(x), -1, -1)
        x = torch.cat([ahead, x], 1)
    for i in range(tower.layers - 1):  # the features before the last block
        b = f"{p}.blocks.{i}"
        norm = lambda name, y, b=b: F.layer_norm(y, (d,), s[f"{b}.{name}.weight"], s[f"{b}.{name}.bias"], 1e-6)  # noqa: E731
        linear = lambda name, y, b=b: F.linear(y, s[f"{b}.{name}.weight"], s[f"{b}.{name}.bias"])  # noqa: E731
        q, k, v = linear("attn.qkv", norm("norm1", x)).view(len(x), -1, 3, heads, d // heads).unbind(2)
        weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(d // heads)).softmax(-1)
        y = linear("attn.proj", torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2))
        x = x + y * s.get(f"{b}.ls1.scale_factor", 1)
        y = linear("mlp.fc2", F.gelu(linear("mlp.fc1", norm("norm2", x))))
        x = x + y * s.get(f"{b}.ls2.scale_factor", 1)
    return x[:, extra:]


def reference_logits(s, frame, ids):
    """One frame (28, 28, 3) u8 and its prompt's token ids -> (56, 256)."""
    x = frame.permute(2, 0, 1)[None].double().float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    dino = reference_tower(s, "vision_backbone.featurizer", (x - mean) / std, DINO)
    siglip = reference_tower(s, "vision_backbone.fused_featurizer", (x - 0.5) / 0.5, SIGLIP)
    h = torch.cat([dino, siglip], -1)
    for name in ("fc1", "fc2", "fc3"):
        h = F.linear(F.gelu(h) if name != "fc1" else h, s[f"projector.{name}.weight"], s[f"projector.{name}.bias"])
    words = s["language_model.model.embed_tokens.weight"][ids][None]
    h = torch.cat([words[:, :1], h, words[:, 1:], torch.zeros(1, 56, 24)], 1)
    angles = torch.arange(h.shape[1])[:, None] / 10000 ** (torch.arange(0, 12, 2) / 12)
    cos, sin = torch.cat([angles.cos()] * 2, 1)[:, None], torch.cat([angles.sin()] * 2, 1)[:, None]
    turn = lambda t: t * cos + torch.cat([-t[..., 6:], t[..., :6]], -1) * sin  # noqa: E731
    rms = lambda t, name: t / (t.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[name]  # noqa: E731
    for i in range(2):
        p = f"language_model.model.layers.{i}"
        y = rms(h, f"{p}.input_layernorm.weight")
        q, k, v = (F.linear(y, s[f"{p}.self_attn.{n}_proj.weight"]).view(1, -1, 2, 12) for n in "qkv")
        weights = (torch.einsum("bnhd,bmhd->bhnm", turn(q), turn(k)) / math.sqrt(12)).softmax(-1)  # all see all
        h = h + F.linear(torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2), s[f"{p}.self_attn.o_proj.weight"])
        y = rms(h, f"{p}.post_attention_layernorm.weight")
        gate, up = (F.linear(y, s[f"{p}.mlp.{n}_proj.weight"]) for n in ("gate", "up"))
        h = h + F.linear(F.silu(gate) * up, s[f"{p}.mlp.down_proj.weight"])
    h = rms(h, "language_model.model.norm.weight")
    first = 4 + len(ids) - 1
    logits = F.linear(h[0, first : first + 56], s["language_model.lm_head.weight"])
    return logits[:, 300 - 256 : 300]


@torch.no_grad()
def test_logits_are_the_reference_s_whatever_the_batch(policy, folder, frames):
    s = {k: v for shard in folder.glob("*.safetensors") for k, v in load_file(shard).items()}
    ids = [policy.prompt_ids(text) for text in TASKS]
    assert ids[0] == [1, 40, 3, 42, 10, 11, 12, 13, 14, 15, 17, 18, 12, 19, 2, 41, 3, 7]  # BOS, prompt, mark
    logits = policy(frames, TASKS)
    assert logits.shape == (3, 8, 7, 256)
    for i in range(3):
        expected = reference_logits(s, frames[i], ids[i])
        torch.testing.assert_close(logits[i].flatten(0, 1), expected, rtol=1e-3, atol=1e-3)
    assert logits.flatten(0, 2).std(dim=0).mean() > 0.05


def test_actions_come_and_go_as_published(policy):
    low, high = np.array(STATISTICS["q01"]), np.array(STATISTICS["q99"])
    bins = np.linspace(-1, 1, 256)
    centres = (bins[:-1] + bins[1:]) / 2
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.2, 1.2, (50, 7))
    actions[:, 6] = np.where(actions[:, 6] > 0, 1, -1)
    normalised = np.clip(2 * (actions - low) / (high - low + 1e-8) - 1, -1, 1)
    normalised[:, 6] = np.where(actions[:, 6] < 0, 1.0, 0.0)  # theirs: open is 1
    ids = 32000 - np.digitize(normalised, bins)
    tokens = policy.action_tokens.encode(torch.from_numpy(actions))
    assert np.array_equal(tokens.numpy(), ids - (32000 - 256))

    read = centres[np.clip(32000 - ids - 1, 0, 254)]
    expected = np.where(STATISTICS["mask"], 0.5 * (read + 1) * (high - low + 1e-8) + low, read)
    expected[:, 6] = -np.sign(2 * expected[:, 6] - 1)
    decoded = policy.action_tokens.decode(tokens).numpy()
    np.testing.assert_allclose(decoded, expected, atol=1e-6)
    assert np.array_equal(decoded[:, 6], actions[:, 6])
    width = (high - low)[:6] / 255
    assert (np.abs(decoded[:, :6] - np.clip(actions, low, high)[:, :6]) <= width).all()
    assert torch.equal(ActionTokens(ActionStatistics()).decode(torch.zeros(1, 7, dtype=torch.long)).sign()[0, :6],
                       torch.ones(6))  # fmt: skip


def test_acting_is_seeded_exact_and_greedy_at_zero(policy, frames):
    previous = torch.zeros(3, 7)
    seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    chunk = policy.act(frames, TASKS, previous, temperature=1.6, generator=seeded())
    again = policy.act(frames, TASKS, previous, temperature=1.6, generator=seeded())
    assert torch.equal(chunk.tokens, again.tokens)
    assert (chunk.actions.shape, chunk.actions.dtype) == ((3, 8, 7), torch.float32)
    log_probs = policy.log_prob(frames, TASKS, previous, chunk.tokens, temperature=1.6)
    torch.testing.assert_close(chunk.log_probs, log_probs.detach())
    probability = policy(frames, TASKS).div(1.6).softmax(-1)
    torch.testing.assert_close(log_probs.exp(), probability.gather(-1, chunk.tokens[..., None])[..., 0])
    greedy = policy.act(frames, TASKS, previous)
    assert torch.equal(greedy.tokens, policy(frames, TASKS).argmax(-1))
    with pytest.raises(WovrError, match="generator"):
        policy.act(frames, TASKS, previous, temperature=1.0)
    with pytest.raises(WovrError, match="3 frames but 1 instruction; there must be one for each"):
        policy.act(frames, TASKS[:1], previous)


def test_it_learns_demonstrations_with_adapters_that_merge(policy, frames):
    actions = torch.rand(3, 8, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[0, 5:] = False
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "fc1", "fc2", "fc3")
    before = policy.state_dict()["lm_head.weight"].clone()
    add_adapters(policy, LoRAConfig(rank=8, alpha=16, targets=targets), seed=0, keep=())
    parameters = list(trainable(policy).parameters().values())
    optimizer = torch.optim.AdamW(parameters, 2e-2)
    losses = []
    for _ in range(40):
        loss, metrics = policy.sft_loss(frames, TASKS, actions, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(metrics["loss"])
    assert losses[-1] < 0.6 * losses[0]
    other, _ = policy.sft_loss(frames, TASKS, torch.where(mask[..., None], actions, -actions), mask)
    loss, _ = policy.sft_loss(frames, TASKS, actions, mask)
    assert torch.equal(loss, other)  # padding does not count
    adapted = policy(frames, TASKS)
    merge_adapters(policy)
    torch.testing.assert_close(policy(frames, TASKS), adapted, rtol=1e-3, atol=1e-3)
    assert torch.equal(policy.lm_head.weight, before)
    assert not any("lora" in name for name in policy.state_dict())


def test_a_whole_update_in_imagination(folder, make_episode):
    """Groups imagined by the policy in the small world model, then masked GRPO on adapters: wins gain, losses lose."""
    policy = load_published(folder, replace(CONFIG, vision=replace(CONFIG.vision, image_size=28)), "libero_object")
    codec = AutoencoderConfig(image_size=32, width=16, latent_channels=4)
    world = build_world_model(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()
    episode = make_episode(size=32)
    episode = replace(episode, task=TaskId("libero_object", 0, TASKS[0]))
    wins = torch.tensor([0.9, 0.1, 0.9, 0.1])
    env = WorldModelEnv(
        world,
        lambda f, texts: wins.repeat_interleave(len(f) // 4) * (len(f) > 4),
        ImaginationConfig(solver_steps=1, success_threshold=0.5),
    )
    (group,) = imagine_groups(
        policy, env, [keyframe(episode, 12, "contact")], group_size=4, chunks=2, temperature=1.0, discount=0.99, seed=3
    )
    assert [r.imagined_success for r in group.rollouts] == [True, False, True, False]
    batch = of_rollouts(group)
    add_adapters(policy, LoRAConfig(rank=4, alpha=8, targets=("q_proj", "v_proj", "o_proj")), seed=0, keep=())

    def odds() -> torch.Tensor:
        with torch.no_grad():
            flat = policy.log_prob(
                batch.frames.flatten(0, 1), [TASKS[0]] * 8, batch.previous_actions.flatten(0, 1),
                batch.tokens.flatten(0, 1),
            )  # fmt: skip
        return (flat.view(4, 2, 8, 7) * batch.loss_mask[..., None]).sum(dim=(1, 2, 3)) / batch.loss_mask.sum(dim=(1, 2))

    before = odds()
    torch.testing.assert_close(
        before, (batch.log_probs * batch.loss_mask[..., None]).sum(dim=(1, 2, 3)) / batch.loss_mask.sum(dim=(1, 2)),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(trainable(policy).parameters().values(), 5e-3, weight_decay=0.0)
    metrics = learn(policy, optimizer, [batch], PolicyRLConfig(epochs=3), GroupTally())
    gained = odds() - before
    assert gained[[0, 2]].mean() > gained[[1, 3]].mean()
    assert all(math.isfinite(v) for v in metrics.values())


def test_checkpoints_that_do_not_fit(folder, tmp_path):
    with pytest.raises(UnknownNameError, match="libero_goal"):
        load_published(folder, CONFIG, "libero_goal")
    with pytest.raises(WovrError, match=r"gate_proj\.weight is \(40, 24\), the recipe's model wants \(44, 24\)"):
        load_published(folder, replace(CONFIG, hidden=44))
    state = {k: v for shard in sorted(folder.glob("*.safetensors")) for k, v in load_file(shard).items()}
    for name in ("dataset_statistics.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    single = tmp_path / "model.safetensors"
    save_file(state, single)
    assert torch.equal(load_published(tmp_path, CONFIG).lm_head.weight, load_published(folder, CONFIG).lm_head.weight)
    save_file({k: v for k, v in state.items() if k != "projector.fc3.bias"}, single)
    with pytest.raises(WovrError, match=r"lacks 1 tensor .* vision_backbone\.projector\.fc3\.bias"):
        load_published(tmp_path, CONFIG)
    save_file(state | {"action_head.weight": torch.zeros(2)}, single)
    with pytest.raises(WovrError, match=r"action_head\.weight is no tensor of OpenVLA-OFT with discrete actions"):
        load_published(tmp_path, CONFIG)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CorruptFileError, match="tokenizer"):
        load_published(tmp_path, CONFIG)
    (tmp_path / "dataset_statistics.json").write_text('{"a": {"action": {"q01": [1]}}}')
    with pytest.raises(CorruptFileError, match="q01 and q99"):
        read_statistics(tmp_path / "dataset_statistics.json")
    with pytest.raises(WovrError, match="q99 must be above q01"):
        ActionStatistics(q01=(1.0,) * 7)


def test_our_own_checkpoint_gives_the_same_policy(folder, frames, tmp_path):
    policy = load_published(folder, CONFIG, dtype=torch.bfloat16)
    version = save_model(tmp_path / "policy", POLICY, policy, lineage={})
    again, found = load_policy(tmp_path / "policy")
    assert found == version
    assert again.config == policy.config
    assert again.lm_head.weight.dtype == torch.bfloat16
    one, two = (p.act(frames, TASKS, torch.zeros(3, 7)) for p in (policy, again))
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.actions, two.actions)


def test_a_package_that_is_missing_is_named(folder, policy, tmp_path, monkeypatch):
    save_model(tmp_path / "policy", POLICY, policy, lineage={})
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for load in (lambda: load_published(folder, CONFIG), lambda: load_policy(tmp_path / "policy")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'wovr-workbench\[large\]'"):
            load()


def test_the_published_size():
    """7B, without values: Llama 2 7B, both towers but their last blocks, the projector."""
    with without_values():
        policy = OpenVLAOFT(OpenVLAOFTConfig())
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    llama = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096 + 2 * 32064 * 4096
    assert count(policy.language_model) + count(policy.lm_head) == llama
    shapes = {k: tuple(v.shape) for k, v in policy.state_dict().items()}
    assert shapes["vision_backbone.projector.fc1.weight"] == (8704, 2176)
    assert shapes["vision_backbone.featurizer.embeddings.position_embeddings"] == (1, 257, 1024)
    assert shapes["vision_backbone.fused_featurizer.embeddings.position_embedding.weight"] == (256, 1152)
    assert shapes["vision_backbone.fused_featurizer.encoder.layers.25.mlp.fc1.weight"] == (4304, 1152)
    assert not any("encoder.layer.23." in k or "encoder.layers.26." in k for k in shapes)


def test_the_stage_trains_adapters_resumes_and_merges(folder, make_episode, tmp_path, monkeypatch):
    policy = load_published(folder, CONFIG)
    codec = AutoencoderConfig(image_size=32, width=16, latent_channels=4)
    world = build_world_model(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16)).eval()
    for kind, model in ((POLICY, policy), (WORLD_MODEL, world), (REWARD, build_reward(RewardConfig(image_size=32)))):
        save_model(tmp_path / kind, kind, model, lineage={})
    write_keyframes(tmp_path / "keyframes", [keyframe(make_episode(size=32), 12, "contact")])
    wins = torch.tensor([0.9, 0.1, 0.9, 0.1])
    env = WorldModelEnv(
        world,
        lambda f, texts: wins.repeat_interleave(len(f) // 4) * (len(f) > 4),
        ImaginationConfig(solver_steps=1, success_threshold=0.5),
    )
    monkeypatch.setattr("wovr_core.stages.train_policy_rl.make_env", lambda *arguments: env)
    monkeypatch.setattr("wovr_core.stages.train_policy_rl.Training", partial(Training, save_every_seconds=0.0))
    config = PolicyRLConfig(updates=2, groups=1, group_size=4, chunks=1, epochs=1, learning_rate=1e-2, kept_groups=0,
                            lora=LoRAConfig(rank=2, alpha=4, targets=("q_proj", "v_proj")))  # fmt: skip
    simulator = Simulator(tmp_path / POLICY, tmp_path / WORLD_MODEL, tmp_path / REWARD)
    inputs = PolicyRLInputs(simulator, str(tmp_path / "keyframes"), "k", seed=0)
    done = train_policy_rl.run(config, inputs, tmp_path / "whole")
    weights = load_policy(Path(done.policy))[0].state_dict()
    before = policy.state_dict()
    changed = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)
    assert 0 < done.parameter_change < 0.1

    log = Training.log

    def torn(self, metrics):
        if self._step == 1:
            raise KeyboardInterrupt
        log(self, metrics)

    monkeypatch.setattr(Training, "log", torn)
    with pytest.raises(KeyboardInterrupt):
        train_policy_rl.run(config, inputs, tmp_path / "torn")
    saved = next((tmp_path / "torn" / "training").glob("step_*"))
    names = [k for k in load_checkpoint(saved).tensors if k.startswith("module.policy.")]
    assert names
    assert all("lora_" in k for k in names)
    monkeypatch.setattr(Training, "log", log)
    again = train_policy_rl.run(config, inputs, tmp_path / "torn")
    assert again.version == done.version
