"""Training throughput, as a share of what this machine's matrix units reach in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from apps.bench import Row, row
from wovr_core import recipes
from wovr_core.precision import autocast, bf16_pays
from wovr_core.recipes import Recipe
from wovr_core.types import ACTION_DIM
from wovr_core.world_model.model import CONTEXT_LATENTS, WINDOW, WorldModel
from wovr_core.world_model.model import build as build_world_model

PEAK_SIZE = 2048


def run(recipe_name: str = "cpu", rounds: int = 4, threads: int | None = None) -> list[Row]:
    """GFLOP/s of the recipe's two training steps of the world model beside a large square product's.

    Operations are counted by torch over forward and backward pass (multiplications of matrices and convolutions only);
    the optimiser's step is in the time. All take turns, and the median round is reported; the peak is the best one.
    """
    recipe = recipes.get(recipe_name)
    torch.set_num_threads(threads or recipe.threads)
    model = build_world_model(recipe.world_model.model)
    codec, transformer = _codec_step(recipe, model), _transformer_step(recipe, model)
    number_format = torch.bfloat16 if bf16_pays() else torch.float32
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    a, b = a.to(number_format), b.to(number_format)
    steps: dict[str, Callable[[], object]] = {"peak": lambda: a @ b, "transformer": transformer, "codec": codec}
    work = {name: _operations(step) for name, step in steps.items() if name != "peak"} | {"peak": 2 * PEAK_SIZE**3}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            for _ in range(4 if name == "peak" else 1):
                began = time.perf_counter()
                step()
                if number:
                    seconds[name].append(time.perf_counter() - began)
    peak = work["peak"] / min(seconds["peak"]) / 1e9
    kind = "bf16" if number_format is torch.bfloat16 else "float32 (no bf16 in hardware)"
    rows = [row(f"matrix peak, {kind}, {PEAK_SIZE} squared, {torch.get_num_threads()} threads", peak, "GFLOP/s")]
    for name, batch in (
        ("transformer", recipe.world_model.transformer.batch),
        ("codec", recipe.world_model.autoencoder.batch),
    ):
        taken = statistics.median(seconds[name])
        rows.append(row(f"{name} step, batch {batch}", work[name] / taken / 1e9, "GFLOP/s", peak))
        rows.append(row(f"{name} steps", 1 / taken, "steps/s"))
    return rows


def _operations(step: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def _transformer_step(recipe: Recipe, model: WorldModel) -> Callable[[], None]:
    config = recipe.world_model.transformer
    side = recipe.world_model.model.codec.image_size // recipe.world_model.model.codec.spatial
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(config.batch, CONTEXT_LATENTS + 2, model.codec.channels, side, side, generator=generator)
    actions = torch.randn(config.batch, WINDOW, ACTION_DIM, generator=generator)
    model.transformer.train()
    optimizer = torch.optim.AdamW(model.transformer.parameters(), lr=1e-6, betas=(0.9, 0.98), fused=True)

    def step() -> None:
        loss, _ = model.loss(latents, actions, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.transformer.parameters(), 1.0)
        optimizer.step()

    return step


def _codec_step(recipe: Recipe, model: WorldModel) -> Callable[[], None]:
    config, size = recipe.world_model.autoencoder, recipe.world_model.model.codec.image_size
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (config.batch, size, size, 3), generator=generator, dtype=torch.uint8)
    moving = torch.zeros(config.batch, size, size, dtype=torch.bool)
    optimizer = torch.optim.AdamW(model.codec.parameters(), lr=1e-6, betas=(0.9, 0.99), fused=True)

    def step() -> None:
        model.codec.train()
        with autocast():
            loss, _ = model.codec.loss(frames, moving, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.codec.parameters(), 1.0)
        optimizer.step()

    return step
