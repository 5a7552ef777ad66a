"""Train the world model: the autoencoder first, then the transformer on its cached latents."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wovr_core.adapters import LoRAConfig, add_adapters, merge_adapters, trainable
from wovr_core.config import LATER
from wovr_core.data.segments import split_ids
from wovr_core.errors import WovrError
from wovr_core.model_files import WORLD_MODEL, load_world_model, save_model, version_of
from wovr_core.precision import autocast
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.engine import Engine, accelerated
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.training import Stateful, Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode
from wovr_core.world_model.compiled import compiled_blocks
from wovr_core.world_model.ema import Ema
from wovr_core.world_model.model import WorldModel, WorldModelConfig, build
from wovr_core.world_model.motion import moving_region
from wovr_core.world_model.pretrained import PretrainedConfig, build_empty, build_pretrained
from wovr_core.world_model.quality import QualityReport, evaluate
from wovr_core.world_model.windows import Windows, contact_weights, windows_for
from wovr_core.world_model.world_models import plugin_of


@dataclass(frozen=True)
class AutoencoderTraining:
    steps: int = 1500
    batch: int = 16
    """Many small steps pay more than few large ones."""
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class LargeTraining:
    """Training under accelerate: `accelerate launch -m apps.cli world-model train ...` on one GPU or several."""

    lora: LoRAConfig | None = None
    """Train adapters and the action channels only; without it, all weights."""
    shares: int = 1
    """Batches per process and step; their gradients are averaged."""
    shard: bool = True
    """Divide weights and optimizer among several processes (FSDP); otherwise each holds all of them."""
    checkpointing: bool = True
    """Compute the blocks' activations again in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        if self.shares < 1:
            raise WovrError(f"transformer.large.shares must be at least 1, got {self.shares}")


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
    large: LargeTraining | None = None
    """How to train at scale; without it, in this process alone."""

    contact_weight: float | None = field(default=None, metadata=LATER)
    """How many times as often as the others those windows are drawn that lie around a change of the gripper's command
    (`windows.contact_weights`): what is grasped decides most episodes, and is a tenth of them. None: all alike."""

    def __post_init__(self) -> None:
        if self.contact_weight is not None and self.contact_weight <= 0:
            raise WovrError(f"transformer.contact_weight must be above 0, got {self.contact_weight}")

    @property
    def engine(self) -> Engine:
        """Where the loop runs."""
        return accelerated(self.large.shard) if self.large else Engine()


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
    pretrained: PretrainedConfig | None = None
    """Begin with the pretrained Wan, transformer and autoencoder; `model.wan` then describes it."""


def autoencoder_alone(config: WorldModelTrainingConfig) -> WorldModelTrainingConfig | None:
    """The same training, but for a transformer that is hardly begun: what `WorldModelInputs.codec` takes over, so that
    world models of one autoencoder are trained side by side. None where no autoencoder is trained here."""
    if config.pretrained is not None or plugin_of(config.model):
        return None
    return replace(config, transformer=TransformerTraining(steps=1, batch=1), horizons=config.horizons[:1])


@dataclass(frozen=True)
class WorldModelInputs:
    episodes: tuple[str, ...]
    """Folders of real episodes."""
    versions: tuple[str, ...]
    seed: int
    codec: Path | None = None
    """A world model, trained on the same episodes, whose autoencoder is taken over in place of training one
    (`autoencoder_alone`)."""


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

    engine = config.transformer.engine
    plugin = plugin_of(config.model)
    last = None
    if plugin:
        model = plugin.build(config.model)
        plugin.train(model, training, derive_seed(inputs.seed, "world_model"), folder.log)
    else:
        model = _begin(folder, config, inputs, training, engine)
        actions = [e.actions for e in training]
        weight = config.transformer.contact_weight
        weights = None if weight is None else [contact_weights(a, weight) for a in actions]
        windows = windows_for(model.codec, [e.frames for e in training], actions, weights)
        last = fit_transformer(folder, model, windows, config.transformer, inputs.seed)

    path = folder.path / "world_model"
    if engine.main:
        quality = measure(model, held_out, config)
        lineage = {"episodes": ",".join(inputs.versions)}
        version = save_model(path, WORLD_MODEL, model, lineage=lineage)
        save_last_weights(path, model, last, lineage | {"average": version})
        folder.log(config.transformer.steps, _flat(quality), "quality")
        folder.finish(WorldModelOutputs(str(path), version, quality.to_dict(), held_ids))
    engine.wait()
    outputs = folder.outputs(WorldModelOutputs)
    assert outputs is not None
    return outputs


def _begin(
    folder: StageFolder,
    config: WorldModelTrainingConfig,
    inputs: WorldModelInputs,
    training: Sequence[Episode],
    engine: Engine,
) -> WorldModel:
    """The model whose transformer is to be trained: pretrained, or new behind a codec trained or taken over."""
    wanted = replace(config.model, seed=derive_seed(inputs.seed, "world_model_weights"))
    if config.pretrained is not None:
        model = build_pretrained(wanted, config.pretrained)
        engine.place(model)
        return model
    if wanted.wan is not None:
        raise WovrError("world_model.model.wan without world_model.pretrained: its autoencoder cannot be trained here")
    model = build(wanted)
    engine.place(model)
    if inputs.codec is not None:
        model.codec.load_state_dict(load_world_model(inputs.codec)[0].codec.state_dict())
        model.codec.eval().requires_grad_(False)
        return model
    if engine.main:
        fit_autoencoder(folder, model, training, config.autoencoder, inputs.seed)
    engine.wait()
    engine.share_weights(model.codec)
    model.codec.eval().requires_grad_(False)
    return model


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
            with autocast(model.device):
                loss, metrics = codec.loss(frames[chosen], moving[chosen], generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimizer.step()
            training.log(metrics)
    codec.eval().requires_grad_(False)
    codec.fit_latents(frames[::7])


class _Loss(nn.Module):
    """The model's loss as a module whose parameters are the transformer's: what gradients are averaged for."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.transformer = model.transformer
        self._loss = model.loss  # no submodule: the codec is frozen

    def forward(
        self, latents: torch.Tensor, actions: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """As `WorldModel.loss`."""
        return self._loss(latents, actions, generator)


def fit_transformer(
    folder: StageFolder, model: WorldModel, windows: Windows, config: TransformerTraining, seed: int
) -> dict[str, torch.Tensor]:
    """Train the transformer; the model ends with the averaged weights, adapters merged.

    Under several processes all of them call this, and the main one's model is the result.

    Returns:
        The last step's own weights, as the transformer's state.
    """
    large, engine = config.large or LargeTraining(checkpointing=False), config.engine
    transformer = model.transformer.train()
    if large.lora:
        add_adapters(transformer, large.lora, derive_seed(seed, "adapters"))
        engine.place(transformer)
    if large.checkpointing:
        transformer.enable_gradient_checkpointing()
    loss_of = engine.wrap(_Loss(model), transformer.blocks)
    parameters = [p for p in transformer.parameters() if p.requires_grad]
    ema = Ema(transformer, config.ema_decay)
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True)
    modules: dict[str, Stateful] = {"transformer": trainable(transformer) if large.lora else transformer, "ema": ema}
    with (
        compiled_blocks(transformer, config.compile),
        Training(
            folder, steps=config.steps, modules=modules, optimizer=optimizer, name="transformer", engine=engine
        ) as training,
    ):
        for step in training:
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps, config.warmup))
            optimizer.zero_grad()
            shares = list(engine.shares(large.shares))
            for share in shares:
                generator = torch_generator(seed, "transformer", step, *([share] if share else []))
                latents, actions = windows.sample(config.batch, generator)
                with nullcontext() if share == shares[-1] else engine.without_sync(loss_of):
                    loss, metrics = loss_of(latents, actions, generator)
                    (loss / large.shares).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            ema.update(transformer)
            training.log(metrics)
    last = _plain_weights(transformer, model, large, engine)
    ema.copy_to(transformer)
    if large.lora or engine.divides:
        averaged = _plain_weights(transformer, model, large, engine)
        if engine.main:
            model.transformer = build_empty(model.config).transformer
            model.transformer.load_state_dict(averaged, assign=True)
    model.eval()
    return last


def _plain_weights(
    transformer: nn.Module, model: WorldModel, large: LargeTraining, engine: Engine
) -> dict[str, torch.Tensor]:
    """A copy of the weights in the main process, gathered from all of them, adapters merged; elsewhere nothing."""
    state = engine.gather(transformer.state_dict())
    if not large.lora or not engine.main:
        return state
    other = build_empty(model.config).transformer
    add_adapters(other, large.lora, seed=0)  # their values follow
    other.load_state_dict(state, assign=True)
    merge_adapters(other)
    return dict(other.state_dict())


def last_weights_path(world_model: Path) -> Path:
    """Where the weights of the last training step lie, beside the averaged ones that are imagined with. Where the two
    disagree, the model is unsure (`score_hallucination`)."""
    return world_model.with_name(f"{world_model.name}_last")


def save_last_weights(
    world_model: Path, model: WorldModel, last: dict[str, torch.Tensor] | None, lineage: dict[str, str]
) -> None:
    """Save the model with its last weights; it keeps the averaged ones. None: it has no others."""
    other = copy.deepcopy(model)
    if last is not None:
        other.transformer.load_state_dict(last)
    save_model(last_weights_path(world_model), WORLD_MODEL, other, lineage=lineage)


def measure(model: WorldModel, held_out: Sequence[Episode], config: WorldModelTrainingConfig) -> QualityReport:
    """Closed-loop quality on episodes that were not trained on."""
    pairs = [(e.frames, e.actions) for e in held_out]
    return evaluate(model, pairs, config.horizons, config.solver_steps)


def _flat(quality: QualityReport) -> dict[str, float]:
    flat = {f"psnr_moving_{h}": v for h, v in zip(quality.horizons, quality.psnr_moving, strict=True)}
    return flat | {"codec_psnr_moving": quality.codec_psnr_moving, "frames_per_second": quality.frames_per_second}
