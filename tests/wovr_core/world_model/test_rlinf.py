"""RLinf's world-model files: names both ways, bits kept, and frames against an inference written from its description.

The reference (`rlinf_reference`) knows Wan's own names and mathematics and nothing of ours; only the video autoencoder
is diffusers'.
"""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlinf_reference import reference_chunk, reference_velocity
from wovr_core import recipes
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.types import NULL_ACTION
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import build
from wovr_core.world_model.pretrained import PretrainedConfig, build_empty, build_pretrained
from wovr_core.world_model.rlinf import RLINF_WORLD_MODEL, read_world_model, write_world_model
from wovr_core.world_model.wan_keys import PREFIX, TRANSFORMER, VAE, to_diffusers, to_wan

FILES = ("model-00001.safetensors", "Wan2.2_VAE.pth")


@pytest.fixture(scope="module")
def trained(wan_config, wan_folder):
    """A small model whose action channels say something."""
    config = replace(wan_config, wan=replace(wan_config.wan, codec=replace(wan_config.wan.codec, truncate=True)))
    model = build_pretrained(config, PretrainedConfig(str(wan_folder)))
    generator = torch.Generator().manual_seed(5)
    for channel in (
        model.transformer.condition_embedder.action_time,
        model.transformer.condition_embedder.action_tokens,
    ):
        for parameter in channel.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def files(trained, tmp_path):
    paths = [tmp_path / name for name in FILES]
    write_world_model(*paths, trained)
    return paths


@torch.no_grad()
def test_imagined_frames_are_those_of_the_published_inference(trained, files, wan_folder, keyframes, monkeypatch):
    monkeypatch.setattr("wovr_core.precision.bf16_pays", lambda: False)  # as exact as the reference
    keyframes = keyframes[:1]
    s = load_file(files[0])
    vae = AutoencoderKLWan.from_pretrained(wan_folder / "vae").eval()
    codec = trained.config.wan.codec
    stats = [torch.tensor(v).view(1, -1, 1, 1, 1) for v in (codec.latents_mean, codec.latents_std)]
    noise = torch.randn(1, 6, 4, 4, 4, generator=torch.Generator("cpu").manual_seed(0))
    given = torch.rand(2, 1, 8, 7, generator=torch.Generator().manual_seed(2)) * 2 - 1

    seen = torch.from_numpy(np.stack([k.context_frames for k in keyframes]))
    past = torch.from_numpy(np.stack([k.context_actions for k in keyframes]))
    past[:, 0] = torch.from_numpy(NULL_ACTION)
    expected = []
    for chunk in given:
        rows = torch.cat([past, chunk], 1)
        made = reference_chunk(s, vae, stats, seen, rows, noise)
        expected.append(made)
        seen, past = torch.cat([seen[:, :1], made[:, -4:]], 1), torch.cat([past[:, :1], rows[:, -4:]], 1)

    env = WorldModelEnv(
        trained, lambda f, i: torch.zeros(len(f)), ImaginationConfig(solver_steps=5, published_noise=True)
    )
    env.reset(keyframes, [77])
    for chunk, made in zip(given, expected, strict=True):
        difference = (env.step(chunk).frames.int() - made.int()).abs()
        assert difference.max() <= 1  # a value at a whole grey level may be cut to either side
        assert difference.float().mean() < 0.01
    assert expected[0].float().std() > 10  # no grey mush
    assert (expected[0].int() - expected[1].int()).abs().float().mean() > 1


@torch.no_grad()
def test_the_velocity_is_the_reference_s(trained, files):
    g = torch.Generator().manual_seed(3)
    latents, actions = torch.randn(2, 4, 6, 4, 4, generator=g), torch.randn(2, 13, 7, generator=g)
    times = torch.tensor([[0.0, 0.0, 640.0, 640.0], [0.0, 0.0, 80.0, 80.0]])
    ours = trained.transformer.velocity(latents, times, actions)
    theirs = reference_velocity(load_file(files[0]), latents.transpose(1, 2), times, actions).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.fault
def test_a_full_disk_is_told_as_such_and_the_file_before_stays(trained, files, monkeypatch):
    def full(tensors, path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = files[0].read_bytes()
    monkeypatch.setattr("wovr_core.checkpoints.save_file", full)
    with pytest.raises(WovrError, match=r"cannot write .*model-00001.*No space left on device.*make room"):
        write_world_model(*files, trained)
    assert files[0].read_bytes() == before
    assert sorted(p.name for p in files[0].parent.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_round_trip_keeps_every_bit(trained, tmp_path, dtype):
    first, second = ([tmp_path / n / name for name in FILES] for n in ("first", "second"))
    model = build_empty(trained.config)
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in trained.state_dict().items()}
    model.load_state_dict(state, assign=True)
    text = {f"text_embedding.{k}": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)) for k in ("0.weight",)}
    write_world_model(*first, model, text)
    again, spare, reports = read_world_model(*first, config=trained.config)
    assert list(again.state_dict()) == list(state)
    assert all(
        torch.equal(again.state_dict()[k], v) and again.state_dict()[k].dtype == v.dtype for k, v in state.items()
    )
    assert torch.equal(spare["text_embedding.0.weight"], text["text_embedding.0.weight"])
    write_world_model(*second, again, spare)
    assert first[0].read_bytes() == second[0].read_bytes()
    one, two = (torch.load(paths[1], weights_only=True) for paths in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert [r.complete for r in reports.values()] == [True, True]
    assert reports[FILES[0]].read == len(load_file(first[0]))


def test_a_prefix_and_a_wrapped_state_dict_are_read_alike(trained, files):
    save_file({PREFIX + k: v for k, v in load_file(files[0]).items()}, files[0])
    torch.save({"model_state_dict": torch.load(files[1], weights_only=True)}, files[1])
    again, *_ = read_world_model(*files, config=trained.config)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in trained.state_dict().items())


def test_names_are_diffusers_own(files, trained):
    state = load_file(files[0])
    theirs = convert_wan_transformer_to_diffusers({k: v for k, v in state.items() if not k.startswith("action_")})
    ours = to_diffusers(state, TRANSFORMER)
    known = {name for name in ours.values() if name and "action_" not in name}
    assert known == {name for name in theirs if "text_embedder" not in name}
    assert all(torch.equal(theirs[str(ours[k])], v) for k, v in state.items() if ours[k] in known)


Shapes = dict[str, tuple[int, ...]]


def vae_shapes(pixels: int, latents: int, widths: dict[str, list[int]], blocks: int, in_time: list[bool]) -> Shapes:
    """The autoencoder's tensors as Wan2.2 itself nests them.

    Args:
        widths: of each half, before its first stage and after each.
        in_time: whether the encoder also halves time after a stage; the decoder mirrors it.
    """
    shapes: Shapes = {}

    def layer(name: str, outputs: int, inputs: int, *kernel: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)})

    def residual(p: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{p}.residual.0.gamma": (inputs, 1, 1, 1), f"{p}.residual.3.gamma": (outputs, 1, 1, 1)})
        layer(f"{p}.residual.2", outputs, inputs, 3, 3, 3)
        layer(f"{p}.residual.6", outputs, outputs, 3, 3, 3)
        if inputs != outputs:
            layer(f"{p}.shortcut", outputs, inputs, 1, 1, 1)

    layer("conv1", 2 * latents, 2 * latents, 1, 1, 1)
    layer("conv2", latents, latents, 1, 1, 1)
    for half, name, count in (("encoder", "downsamples", blocks), ("decoder", "upsamples", blocks + 1)):
        wide, encodes = widths[half], half == "encoder"
        layer(f"{half}.conv1", wide[0], pixels if encodes else latents, 3, 3, 3)
        for i, (inputs, outputs) in enumerate(itertools.pairwise(wide)):
            stage = f"{half}.{name}.{i}.{name}"
            for j in range(count):
                residual(f"{stage}.{j}", outputs if j else inputs, outputs)
            if i < len(wide) - 2:
                layer(f"{stage}.{count}.resample.1", outputs, outputs, 3, 3)
                if (in_time if encodes else in_time[::-1])[i]:
                    layer(f"{stage}.{count}.time_conv", outputs if encodes else 2 * outputs, outputs, 3, 1, 1)
        middle = wide[-1] if encodes else wide[0]
        residual(f"{half}.middle.0", middle, middle)
        residual(f"{half}.middle.2", middle, middle)
        layer(f"{half}.middle.1.to_qkv", 3 * middle, middle, 1, 1)
        layer(f"{half}.middle.1.proj", middle, middle, 1, 1)
        shapes.update({f"{half}.middle.1.norm.gamma": (middle, 1, 1), f"{half}.head.0.gamma": (wide[-1], 1, 1, 1)})
        layer(f"{half}.head.2", 2 * latents if encodes else pixels, wide[-1], 3, 3, 3)
    return shapes


@pytest.fixture(scope="module")
def published():
    """The 5B model, without values: building its skeleton takes seconds."""
    return build_empty(RLINF_WORLD_MODEL)


def test_the_published_sizes_name_by_name(published):
    """Every name and every shape of both files."""
    model = published
    state = model.transformer.state_dict()
    wan = {theirs: tuple(state[ours].shape) for ours, theirs in to_wan(state, TRANSFORMER).items()}
    d, ffn = 3072, 14336
    block = {"modulation": (1, 6, d), "norm3.weight": (d,), "norm3.bias": (d,)}
    block |= {"ffn.0.weight": (ffn, d), "ffn.0.bias": (ffn,), "ffn.2.weight": (d, ffn), "ffn.2.bias": (d,)}
    for attn in ("self_attn", "cross_attn"):
        block |= {f"{attn}.{p}.weight": (d, d) for p in "qkvo"} | {f"{attn}.{p}.bias": (d,) for p in "qkvo"}
        block |= {f"{attn}.norm_{p}.weight": (d,) for p in "qk"}
    expected = {f"blocks.{i}.{name}": shape for i in range(30) for name, shape in block.items()}
    expected |= {"patch_embedding.weight": (d, 48, 1, 2, 2), "patch_embedding.bias": (d,)}
    expected |= {"head.modulation": (1, 2, d), "head.head.weight": (48 * 4, d), "head.head.bias": (48 * 4,)}
    linears = {"time_embedding.0": (d, 256), "time_embedding.2": (d, d), "time_projection.1": (6 * d, d)}
    linears |= {
        "action_mlp1.0": (d, 7),
        "action_mlp1.2": (d, d),
        "action_mlp2.0": (12288, 28),
        "action_mlp2.2": (d, 12288),
    }
    for name, shape in linears.items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    assert wan == expected
    assert model.transformer.config.num_attention_heads == 24
    assert 5.0e9 < sum(math.prod(shape) for shape in wan.values()) < 5.1e9
    assert model.codec.spatial == 16
    assert model.config.latent_side == 16

    vae = model.codec.net.state_dict()
    names = to_wan(vae, VAE, {"encoder": 2, "decoder": 3})
    widths = {"encoder": [160, 160, 320, 640, 640], "decoder": [1024, 1024, 1024, 512, 256]}
    expected = vae_shapes(3 * 2 * 2, 48, widths, blocks=2, in_time=[False, True, True])
    assert {theirs: tuple(vae[ours].shape) for ours, theirs in names.items()} == expected
    assert {theirs: ours for ours, theirs in names.items()} == to_diffusers(names.values(), VAE)


def test_the_recipe_s_model_is_the_published_one_and_computes_its_shapes(published):
    """On the meta device: 13 pictures of 256 pixels, 4 latent frames, a velocity for each, and pictures again."""
    model = build_empty(recipes.get("wan22_5b").world_model.model)
    wanted = published.state_dict()
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in wanted.items()}
    model.to("meta")
    frames = torch.zeros(2, 13, 256, 256, 3, dtype=torch.uint8, device="meta")
    latents = model.codec.encode(frames)
    assert latents.shape == (2, 4, 48, 16, 16)
    times, actions = torch.zeros(2, 4, device="meta"), torch.zeros(2, 13, 7, device="meta")
    assert model.transformer.velocity(latents, times, actions).shape == latents.shape
    pictures = model.codec.decode(latents, last=8)
    assert (pictures.shape, pictures.dtype) == ((2, 8, 256, 256, 3), torch.uint8)


def test_what_does_not_fit_is_told_by_name(trained, files, tmp_path, small_config):
    state = load_file(files[0])
    changed = {k: v for k, v in state.items() if k not in ("blocks.1.ffn.0.bias", "head.modulation")}
    changed |= {"blocks.0.modulation": torch.zeros(1, 6, 5), "blocks.9.strange": torch.zeros(2)}
    save_file(changed, files[0])
    told = (
        "2 missing (blocks.1.ffn.0.bias, head.modulation), 1 unexpected (blocks.9.strange), "
        "1 of another shape (blocks.0.modulation (1, 6, 5) for (1, 6, 24))"
    )
    with pytest.raises(WovrError, match=re.escape(told)):
        read_world_model(*files, config=trained.config)
    files[0].write_bytes(b"\x00" * 64)
    with pytest.raises(CorruptFileError, match="cannot be read"):
        read_world_model(*files, config=trained.config)
    save_file(state, files[0])
    torch.save({"a": print}, files[1])
    with pytest.raises(CorruptFileError, match="no file of plain tensors"):
        read_world_model(*files, config=trained.config)
    torch.save([torch.zeros(2)], files[1])
    with pytest.raises(CorruptFileError, match="no state dict"):
        read_world_model(*files, config=trained.config)
    with pytest.raises(WovrError, match="small autoencoder"):
        write_world_model(*files, build(small_config))
