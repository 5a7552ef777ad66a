"""RLinf's world-model files: `model-00001.safetensors` (transformer, action MLPs) and `Wan2.2_VAE.pth`, both ways.

The published inference, as `RLINF_WORLD_MODEL` and `published_noise` reproduce it: 13 frames, raw actions whose first
row is NULL_ACTION, 5 Euler steps at shift 5, context tokens at time 0 and imposed anew after each step, frames cut down
to whole grey levels and encoded again as the next context.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from wovr_core.checkpoints import save_tensors
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import replace_file
from wovr_core.foreign_weights import fill
from wovr_core.world_model.model import CONTEXT_LATENTS, WanConfig, WorldModel, WorldModelConfig
from wovr_core.world_model.pretrained import build_empty
from wovr_core.world_model.wan_codec import WanCodecConfig
from wovr_core.world_model.wan_keys import PREFIX, TEXT, TRANSFORMER, VAE, KeyReport, compare, to_diffusers, to_wan

TRANSFORMER_FILE, VAE_FILE = "model-00001.safetensors", "Wan2.2_VAE.pth"
TEXT_DIM = 4096
RLINF_WORLD_MODEL = WorldModelConfig(
    wan=WanConfig(codec=WanCodecConfig(truncate=True)),
    layers=30,
    heads=24,
    head_dim=128,
    patch=2,
    sigma_shift=5.0,
)
"""What the published checkpoints are: 3072 wide, 30 layers, 48 latent channels. Imagine with 5 solver steps."""

_VAE_PREFIX = "model."


def published_noise(config: WorldModelConfig, batch: int = 1, seed: int = 0) -> torch.Tensor:
    """The noise of the published inference: drawn on the CPU for all latent frames, the context's part unused.

    Returns:
        (B, 2, Dc, h, w), for the future latent frames.
    """
    assert config.wan is not None
    side = config.latent_side
    shape = (batch, config.wan.codec.latent_channels, CONTEXT_LATENTS + 2, side, side)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return noise.transpose(1, 2)[:, CONTEXT_LATENTS:]


def read_world_model(
    transformer: Path, vae: Path, config: WorldModelConfig = RLINF_WORLD_MODEL
) -> tuple[WorldModel, dict[str, torch.Tensor], dict[str, KeyReport]]:
    """Both files into our model, in the number format in which they are.

    Args:
        config: what they should hold.

    Returns:
        The model in evaluation mode; what it has no place for (the text embedder, if the file carries one), in
        Wan's names, for `write_world_model`; and a report by file.

    Raises:
        WovrError: a tensor is missing, unexpected or of another shape: the report says which.
        CorruptFileError: a file that is damaged, or no state dict.
    """
    for path in (transformer, vae):
        if not path.is_file():
            raise CorruptFileError(f"{path} is missing")  # before the model is built
    model = build_empty(config)
    reports = {}
    try:
        with safe_open(transformer, framework="pt") as file:
            names = {name.removeprefix(PREFIX): name for name in file.keys()}  # noqa: SIM118  # no mapping
            shapes = {n: tuple(file.get_slice(full).get_shape()) for n, full in names.items()}
            spare = {n: file.get_tensor(names[n]) for n in sorted(shapes) if n.startswith(TEXT)}
            own = [n for n in names if n not in spare]
            reports[transformer.name] = _checked(
                transformer, {n: shapes[n] for n in own}, _wan_shapes(model.transformer, TRANSFORMER), len(spare)
            )
            renamed = to_diffusers(own, TRANSFORMER)
            values = ((str(renamed[n]), file.get_tensor(names[n])) for n in own)
            fill(model.transformer, values, transformer, None)
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(f"{transformer} cannot be read: {error}") from error
    state = {n.removeprefix(_VAE_PREFIX): t for n, t in load_state(vae).items()}
    wanted = _wan_shapes(model.codec.net, VAE, _samplers(config))
    reports[vae.name] = _checked(vae, {n: tuple(t.shape) for n, t in state.items()}, wanted)
    renamed = to_diffusers(state, VAE)
    fill(model.codec.net, ((str(renamed[n]), t) for n, t in state.items()), vae, None)
    return model.eval(), spare, reports


def write_world_model(
    transformer: Path, vae: Path, model: WorldModel, spare: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Our model in RLinf's names.

    Args:
        spare: the text embedder that `read_world_model` found. RLinf's loader tells models apart by the names of
            their tensors, so without it zeros stand there; nothing reads their values.

    Raises:
        WovrError: the model is not of Wan's kind.
    """
    config = model.config
    if config.wan is None:
        raise WovrError("RLinf reads the Wan world model only; this one has the small autoencoder of its own")
    names = to_wan(model.transformer.state_dict(), TRANSFORMER)
    tensors = {names[n]: t.detach().cpu().contiguous() for n, t in model.transformer.state_dict().items()}
    tensors |= spare if spare else _no_text(config, model.transformer.proj_out.weight.dtype)
    replace_file(transformer, lambda path: save_tensors(tensors, path))
    names = to_wan(model.codec.net.state_dict(), VAE, _samplers(config))
    state = {names[n]: t.detach().cpu().contiguous() for n, t in model.codec.net.state_dict().items()}
    replace_file(vae, lambda path: torch.save(state, path))


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """A foreign state dict, bare or below "model_state_dict"; tensors only, nothing in the file is run.

    Raises:
        CorruptFileError: missing, damaged, or something else than named tensors.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path} is missing") from error
    except Exception as error:  # torch raises a dozen kinds, depending on where the file is damaged
        why = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CorruptFileError(f"{path} is no file of plain tensors: {why}") from error
    if isinstance(found, dict) and isinstance(found.get("model_state_dict"), dict):
        found = found["model_state_dict"]
    if not isinstance(found, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items()
    ):
        raise CorruptFileError(f"{path} holds no state dict (names and tensors)")
    return dict(found)


def _checked(
    path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], spare: int = 0
) -> KeyReport:
    report = compare(found, wanted)
    if not report.complete:
        raise WovrError(f"{path} does not fit: {report}")
    return KeyReport(report.read + spare)


def _wan_shapes(
    module: torch.nn.Module, rules: tuple[tuple[str, str], ...], samplers: Mapping[str, int] | None = None
) -> dict[str, tuple[int, ...]]:
    state = module.state_dict()
    return {theirs: tuple(state[ours].shape) for ours, theirs in to_wan(state, rules, samplers).items()}


def _samplers(config: WorldModelConfig) -> dict[str, int]:
    """The decoder's stages have a residual block more than the encoder's."""
    assert config.wan is not None
    return {"encoder": config.wan.codec.num_res_blocks, "decoder": config.wan.codec.num_res_blocks + 1}


def _no_text(config: WorldModelConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    dim = config.heads * config.head_dim
    shapes = {"0.weight": (dim, TEXT_DIM), "0.bias": (dim,), "2.weight": (dim, dim), "2.bias": (dim,)}
    return {TEXT + name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
