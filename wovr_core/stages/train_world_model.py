"""Train the world model: the autoencoder first, then the transformer on its cached latents."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from wovr_core.data.segments import split_ids
from wovr_core.model_files import WORLD_MODEL, load_world_model, save_model, version_of
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.training import Stateful, Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode
from wovr_core.world_model.compiled import compiled_blocks
from wovr_core.world_model.ema import Ema
from wovr_core.world_model.model import WorldModel, WorldModelConfig, build
from wovr_core.world_model.motion import moving_region
from wovr_core.world_model.precision import autocast
from wovr_core.world_model.quality import QualityReport, evaluate
from wovr_core.world_model.windows import LatentWindows


@dataclass(frozen=True)
class AutoencoderTraining:
    steps: int = 1500
    batch: int = 16
    """Many small steps pay more than few large ones."""
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class TransformerTraining:
    steps: int = 2000
    batch: int = 24
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: int = 50
    ema_decay: float = 0.995
    compile: bool = False
    """Compile the blocks (torch.compile): pays from about a thousand steps on; needs a C++ compiler."""


@dataclass(frozen=True)
class WorldModelTrainingConfig:
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    autoencoder: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    transformer: TransformerTraining = field(default_factory=TransformerTraining)
    held_out: int = 6
    """Episodes never trained on; quality is measured on them."""
    horizons: tuple[int, ...] = (8, 32, 64, 128)
    solver_steps: int = 2
    """Of the quality measurement."""


@dataclass(frozen=True)
class WorldModelInputs:
    episodes: tuple[str, ...]
    """Folders of real episodes."""
    versions: tuple[str, ...]
    seed: int
    codec: Path | None = None
    """A world model, trained on the same episodes, whose autoencoder is taken over in place of training one: for
    ablations of the transformer."""


@dataclass(frozen=True)
class WorldModelOutputs:
    world_model: str
    version: str
    quality: dict[str, object]
    """`QualityReport` on the held-out episodes."""
    held_out: list[str]


def run(
    config: WorldModelTrainingConfig,
    inputs: WorldModelInputs,
    out_dir: Path,
    on_metrics: OnMetrics = ignore_metrics,
) -> WorldModelOutputs:
    """Both phases, then closed-loop quality on held-out episodes."""
    versions = {"episodes": ",".join(inputs.versions), "seed": str(inputs.seed)}
    if inputs.codec is not None:
        versions["codec"] = version_of(inputs.codec)
    folder = StageFolder(out_dir, "train_world_model", config, versions, on_metrics)
    finished = folder.outputs(WorldModelOutputs)
    if finished:
        return finished
    episodes = load_named(inputs.episodes)
    train_ids, held_ids = split_ids(list(episodes), config.held_out)
    training, held_out = [episodes[i] for i in train_ids], [episodes[i] for i in held_ids]

    model = build(replace(config.model, seed=derive_seed(inputs.seed, "world_model_weights")))
    if inputs.codec is None:
        fit_autoencoder(folder, model, training, config.autoencoder, inputs.seed)
    else:
        model.codec.load_state_dict(load_world_model(inputs.codec)[0].codec.state_dict())
        model.codec.eval().requires_grad_(False)
    windows = LatentWindows(model.codec, [e.frames for e in training], [e.actions for e in training])
    last = fit_transformer(folder, model, windows, config.transformer, inputs.seed)

    quality = measure(model, held_out, config)
    path = folder.path / "world_model"
    lineage = {"episodes": ",".join(inputs.versions)}
    version = save_model(path, WORLD_MODEL, model, lineage=lineage)
    save_last_weights(path, model, last, lineage | {"average": version})
    folder.log(config.transformer.steps, _flat(quality), "quality")
    return folder.finish(WorldModelOutputs(str(path), version, quality.to_dict(), held_ids))


def fit_autoencoder(
    folder: StageFolder, model: WorldModel, episodes: Sequence[Episode], config: AutoencoderTraining, seed: int
) -> None:
    """Train the codec on single frames, weighting what moves; leaves it frozen in evaluation mode."""
    codec = model.codec
    frames = torch.from_numpy(np.concatenate([e.frames for e in episodes]))
    moving = torch.from_numpy(np.concatenate([moving_region(e.frames) for e in episodes]))
    codec.fit_mean(frames[::7])
    codec.train()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    with Training(
        folder, steps=config.steps, modules={"codec": codec}, optimizer=optimizer, name="autoencoder"
    ) as training:
        for step in training:
            generator = torch_generator(seed, "autoencoder", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps))
            chosen = torch.randint(len(frames), (config.batch,), generator=generator)
            with autocast():
                loss, metrics = codec.loss(frames[chosen], moving[chosen], generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimizer.step()
            training.log(metrics)
    codec.eval().requires_grad_(False)
    codec.fit_latents(frames[::7])


def fit_transformer(
    folder: StageFolder, model: WorldModel, windows: LatentWindows, config: TransformerTraining, seed: int
) -> dict[str, torch.Tensor]:
    """Train the transformer on cached latents; the model ends with the averaged weights.

    Returns:
        The last step's own weights, as the transformer's state.
    """
    transformer = model.transformer.train()
    ema = Ema(transformer, config.ema_decay)
    optimizer = torch.optim.AdamW(
        transformer.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    modules: dict[str, Stateful] = {"transformer": transformer, "ema": ema}
    with (
        compiled_blocks(transformer, config.compile),
        Training(folder, steps=config.steps, modules=modules, optimizer=optimizer, name="transformer") as training,
    ):
        for step in training:
            generator = torch_generator(seed, "transformer", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps, config.warmup))
            latents, actions = windows.sample(config.batch, generator)
            loss, metrics = model.loss(latents, actions, generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
            optimizer.step()
            ema.update(transformer)
            training.log(metrics)
    last = {name: tensor.detach().clone() for name, tensor in transformer.state_dict().items()}
    ema.copy_to(transformer)
    model.eval()
    return last


def last_weights_path(world_model: Path) -> Path:
    """Where the weights of the last training step lie, beside the averaged ones that are imagined with. Where the two
    disagree, the model is unsure (`score_hallucination`)."""
    return world_model.with_name(f"{world_model.name}_last")


def save_last_weights(
    world_model: Path, model: WorldModel, last: dict[str, torch.Tensor], lineage: dict[str, str]
) -> None:
    """Save the model with its last weights; it keeps the averaged ones."""
    other = copy.deepcopy(model)
    other.transformer.load_state_dict(last)
    save_model(last_weights_path(world_model), WORLD_MODEL, other, lineage=lineage)


def measure(model: WorldModel, held_out: Sequence[Episode], config: WorldModelTrainingConfig) -> QualityReport:
    """Closed-loop quality on episodes that were not trained on."""
    pairs = [(e.frames, e.actions) for e in held_out]
    return evaluate(model, pairs, config.horizons, config.solver_steps)


def _flat(quality: QualityReport) -> dict[str, float]:
    flat = {f"psnr_moving_{h}": v for h, v in zip(quality.horizons, quality.psnr_moving, strict=True)}
    return flat | {"codec_psnr_moving": quality.codec_psnr_moving, "frames_per_second": quality.frames_per_second}
