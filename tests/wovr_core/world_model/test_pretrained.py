"""The pretrained Wan behind our classes: nothing is lost, nothing changes before the actions are learned."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file

from wovr_core.config import from_dict, override, to_dict
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.world_model.closed_loop import imagine_episode
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import WorldModelConfig, build
from wovr_core.world_model.pretrained import PretrainedConfig, build_empty, build_pretrained, locate
from wovr_core.world_model.wan_codec import WanCodec
from wovr_core.world_model.windows import FrameWindows, windows_for


@pytest.fixture(scope="module")
def model(wan_config: WorldModelConfig, wan_folder: Path):
    return build_pretrained(wan_config, PretrainedConfig(str(wan_folder)))


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    times = torch.tensor([[0.0, 0.0, 700.0, 700.0]]).expand(2, -1)
    return torch.randn(2, 4, 6, 4, 4, generator=g), times, torch.randn(2, 13, 7, generator=g)


def test_at_first_it_computes_what_the_pretrained_model_does_for_an_empty_text(model, wan_folder):
    latents, times, actions = inputs()
    pretrained = WanTransformer3DModel.from_pretrained(wan_folder / "transformer").eval()
    with torch.no_grad():
        ours = model.transformer.velocity(latents, times, actions)
        theirs = pretrained(
            hidden_states=latents.transpose(1, 2),
            timestep=times.repeat_interleave(4, dim=1),
            encoder_hidden_states=torch.zeros(2, 5, 12),  # text padding
            return_dict=False,
        )[0].transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours, model.transformer.velocity(latents, times, -actions))


def test_both_action_channels_learn_from_the_first_step(model):
    latents, _, actions = inputs()
    model.loss(latents, actions, torch.Generator().manual_seed(0))[0].backward()
    embedder = model.transformer.condition_embedder
    for channel in (embedder.action_time, embedder.action_tokens):
        assert channel[2].weight.grad.abs().sum() > 0
    model.zero_grad()


def test_the_codec_is_diffusers_own(model, wan_folder, wan_config):
    vae = AutoencoderKLWan.from_pretrained(wan_folder / "vae").eval()
    frames = torch.randint(0, 256, (2, 13, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latents = model.codec.encode(frames)
    codec = wan_config.wan.codec
    with torch.no_grad():
        z = vae.encode(frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).latent_dist.mean
        mean, std = (np.array(v, np.float32)[:, None, None, None] for v in (codec.latents_mean, codec.latents_std))
        np.testing.assert_allclose(latents.transpose(1, 2).numpy(), (z.numpy() - mean) / std, rtol=1e-4, atol=1e-4)
        pixels = vae.decode(z).sample.permute(0, 2, 3, 4, 1)
    decoded = model.codec.decode(latents)
    assert (decoded.shape, decoded.dtype) == (frames.shape, torch.uint8)
    np.testing.assert_array_less(np.abs(decoded.numpy() - (pixels.numpy() + 1) * 127.5), 0.51)
    assert torch.equal(model.codec.decode(latents, last=8), decoded[:, 5:])
    cut = WanCodec(replace(codec, truncate=True))
    cut.net.load_state_dict(model.codec.net.state_dict())
    assert (cut.decode(latents).int() <= decoded.int()).all()
    with pytest.raises(WovrError, match="1 \\+ 4 k"):
        model.codec.encode(frames[:, :12])


def test_the_future_is_not_seen_by_the_codec(model):
    frames = torch.randint(0, 256, (1, 13, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    context = model.codec.encode(frames[:, :5])
    torch.testing.assert_close(model.codec.encode(frames)[:, :2], context, rtol=1e-4, atol=1e-4)
    assert (model.codec.encode(frames[:, 1:6])[:, 1] - context[:, 1]).abs().max() > 1e-3  # the past is


def test_windows_are_clips_and_imagination_is_encoded_again_behind_its_reference(model, make, keyframes, monkeypatch):
    made = [make(0), make(1, length=10)]
    windows = windows_for(model.codec, [f for f, _ in made], [a for _, a in made])
    assert isinstance(windows, FrameWindows)
    clips, actions = windows.gather([3, 18])
    assert np.array_equal(clips[0].numpy(), made[0][0][[0, 0, 1, 2, 3, *range(4, 12)]])
    assert np.array_equal(clips[1].numpy(), made[1][0][[0, 0, 0, 0, 1, *range(2, 10)]])
    assert torch.isfinite(model.loss(clips, actions, torch.Generator().manual_seed(0))[0])

    encoded = []
    encode = WanCodec.encode
    monkeypatch.setattr(WanCodec, "encode", lambda self, f: encoded.append(f.clone()) or encode(self, f))
    env = WorldModelEnv(model, lambda f, i: torch.zeros(len(f)), ImaginationConfig(solver_steps=1, max_chunks=2))
    env.reset(keyframes, [1, 2, 3])
    step = env.step(torch.zeros(3, 8, 7))
    assert np.array_equal(encoded[-1][:, 0].numpy(), np.stack([k.context_frames[0] for k in keyframes]))
    assert torch.equal(encoded[-1][:, 1:], step.frames[:, -4:])
    assert imagine_episode(model, *made[0], chunks=2, solver_steps=1, seed=0).shape == (16, 32, 32, 3)


def test_the_config_goes_through_json_and_set(wan_config):
    assert from_dict(WorldModelConfig, to_dict(wan_config), "test") == wan_config
    changed = override(wan_config, ["wan.codec.clips=2", "wan.ffn_dim=44"])
    assert (changed.wan.codec.clips, changed.wan.ffn_dim, changed.wan.codec.base_dim) == (2, 44, 4)
    begun = override(WorldModelConfig(), ["wan.ffn_dim=20"])  # an absent group begins with its defaults
    assert (begun.wan.ffn_dim, begun.wan.codec.latent_channels) == (20, 48)
    assert override(wan_config, ["wan=null"]).wan is None
    with pytest.raises(WovrError, match=r"did you mean 'wan\.ffn_dim'"):
        override(wan_config, ["wan.ffn_dimm=3"])
    with pytest.raises(WovrError, match="patch 3"):
        override(wan_config, ["patch=3"])


@pytest.fixture
def broken(wan_folder, tmp_path):
    return Path(shutil.copytree(wan_folder, tmp_path / "wan"))


def test_sources_that_do_not_fit_are_named(broken, wan_config, monkeypatch, tmp_path):
    source = PretrainedConfig(str(broken))
    with pytest.raises(WovrError, match=r"ffn\.net\.0\.proj\.bias is \(40,\), the recipe's model wants \(44,\)"):
        build_pretrained(override(wan_config, ["wan.ffn_dim=44"]), source)
    with pytest.raises(WovrError, match="latents_mean"):
        build_pretrained(override(wan_config, ["wan.codec.latents_mean=[0,0,0,0,0,0]"]), source)
    vae = broken / "vae" / "diffusion_pytorch_model.safetensors"
    values = load_file(vae)
    save_file({k: v for k, v in values.items() if k != "quant_conv.bias"}, vae)
    with pytest.raises(WovrError, match=r"vae lacks 1 tensor .* quant_conv\.bias"):
        build_pretrained(wan_config, source)
    save_file(values | {"extra": torch.zeros(2)}, vae)
    with pytest.raises(WovrError, match=r"extra is .* no such tensor"):
        build_pretrained(wan_config, source)
    vae.write_bytes(vae.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match="cannot be read"):
        build_pretrained(wan_config, source)
    next((broken / "transformer").glob("*-00002-*.safetensors")).unlink()
    with pytest.raises(CorruptFileError, match="is missing"):
        build_pretrained(wan_config, source)
    index = broken / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../../secret.safetensors"}}))
    with pytest.raises(CorruptFileError, match=r"wan/transformer/secret\.safetensors is missing"):
        build_pretrained(wan_config, source)
    (broken / "transformer" / "config.json").unlink()
    with pytest.raises(WovrError, match=r"no transformer/config\.json"):
        locate(source)
    with pytest.raises(WovrError, match="no folder"):
        locate(PretrainedConfig(str(tmp_path / "nothing")))


@pytest.mark.parametrize("variable", ["WOVR_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_for(variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WovrError, match=f"{variable} forbids to fetch|WOVR_OFFLINE or HF_HUB_OFFLINE forbids"):
        locate(PretrainedConfig("nobody/nothing"))


def test_offline_a_hub_id_is_found_in_the_cache(monkeypatch, tmp_path, wan_folder, wan_config):
    """As the hub's client lays it out: a branch names a commit, a snapshot holds its files."""
    repository = tmp_path / "models--nobody--wan"
    shutil.copytree(wan_folder, repository / "snapshots" / "c0ffee")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    monkeypatch.setenv("WOVR_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate(PretrainedConfig("nobody/wan")) == repository / "snapshots" / "c0ffee"
    found = build_pretrained(wan_config, PretrainedConfig("nobody/wan"))
    local = build_pretrained(wan_config, PretrainedConfig(str(wan_folder)))
    assert all(torch.equal(found.state_dict()[name], value) for name, value in local.state_dict().items())
    with pytest.raises(WovrError, match="not in the hub's cache"):
        locate(PretrainedConfig("nobody/wan", revision="another"))


def test_a_bf16_base_trains_its_channels_in_float32(wan_config, wan_folder):
    model = build_pretrained(wan_config, PretrainedConfig(str(wan_folder), dtype="bfloat16"))
    assert model.transformer.proj_out.weight.dtype == torch.bfloat16
    assert model.transformer.condition_embedder.action_time[0].weight.dtype == torch.float32
    latents, _, actions = inputs()
    loss, _ = model.loss(latents, actions, torch.Generator().manual_seed(0))
    full = build_pretrained(wan_config, PretrainedConfig(str(wan_folder)))
    torch.testing.assert_close(
        loss, full.loss(latents, actions, torch.Generator().manual_seed(0))[0], rtol=0.05, atol=0
    )


def test_an_empty_model_has_the_shapes_of_a_real_one(wan_config):
    empty = {k: tuple(v.shape) for k, v in build_empty(wan_config).state_dict().items()}
    assert empty == {k: tuple(v.shape) for k, v in build(wan_config).state_dict().items()}
