"""Imagined frames a second beside the simulator's, and beside diffusers' own denoising loop at the same size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from apps.bench import Row, row
from wovr_core import recipes
from wovr_core.envs.libero import LiberoEnv
from wovr_core.instructions import embed_tensor
from wovr_core.precision import autocast
from wovr_core.recipes import Recipe
from wovr_core.reward.classifier import build as build_reward
from wovr_core.types import ACTION_DIM, CHUNK, CONTEXT_FRAMES, Keyframe, Start, TaskId
from wovr_core.world_model.autoencoder import GROUP
from wovr_core.world_model.compiled import compiled_blocks
from wovr_core.world_model.env import ImaginationConfig, WorldModelEnv
from wovr_core.world_model.model import CONTEXT_LATENTS, WINDOW, WorldModel
from wovr_core.world_model.model import build as build_world_model

PUBLISHED_STEPS = 5
"""Solver steps of the published setting."""


def run(recipe_name: str = "cpu", chunks: int | None = None, rounds: int = 3, threads: int | None = None) -> list[Row]:
    """Frames/s of whole imagined rollouts (decoded and judged, the policy left out) beside the simulator's (stepped and
    drawn), and of denoising and decoding alone beside the same with diffusers' own transformer and scheduler.

    All take turns, so that a busy machine slows them alike; the median round is reported. Weights are random: speed
    does not depend on them. The stock loop has the same widths, tokens, batch, number format and autoencoder.

    Args:
        recipe_name: whose sizes, batch, solver steps and threads are used.
        chunks: length of the rollouts; the recipe's by default.
    """
    recipe = recipes.get(recipe_name)
    torch.set_num_threads(threads or recipe.threads)
    batch = recipe.rl.groups * recipe.rl.group_size
    model = build_world_model(recipe.world_model.model).eval()
    speeds = _alternate(
        {
            "rollouts": _rollouts(recipe, model, batch, chunks or recipe.rl.chunks),
            "ends": _rollouts(recipe, model, batch, chunks or recipe.rl.chunks, every_frame=False),
            "compiled": _compiled(
                model, _rollouts(recipe, model, batch, chunks or recipe.rl.chunks, every_frame=False)
            ),
            "loop": _our_loop(recipe, model, batch),
            "stock": _stock_loop(recipe, model, batch, recipe.rl.solver_steps),
            "published": _stock_loop(recipe, model, batch, PUBLISHED_STEPS),
            "simulator": _simulator(recipe),
        },
        rounds,
    )
    size, steps = f"{recipe.env.size} px", recipe.rl.solver_steps
    loop = f"denoised and decoded, {_steps(steps)}, against diffusers' loop with"
    return [
        row(
            f"rollouts, {size}, batch {batch}, against one simulator",
            speeds["rollouts"],
            "frames/s",
            speeds["simulator"],
        ),
        row(
            f"the same, drawn and judged at the ends of chunks only, against every frame, {size}, batch {batch}",
            speeds["ends"],
            "frames/s",
            speeds["rollouts"],
        ),
        row(
            f"the same, the transformer's blocks compiled, against uncompiled, {size}, batch {batch}",
            speeds["compiled"],
            "frames/s",
            speeds["ends"],
        ),
        row(f"{loop} {_steps(steps)}", speeds["loop"], "frames/s", speeds["stock"]),
        row(f"{loop} {_steps(PUBLISHED_STEPS)}", speeds["loop"], "frames/s", speeds["published"]),
    ]


def _alternate(jobs: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Frames/s of each job: it returns how many frames it made; one round goes by unmeasured."""
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            frames = job()
            if number:
                speeds[name].append(frames / (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in speeds.items()}


def _rollouts(
    recipe: Recipe, model: WorldModel, batch: int, chunks: int, every_frame: bool = True
) -> Callable[[], int]:
    size = recipe.env.size
    rng = np.random.default_rng(0)
    context = rng.integers(0, 256, (CONTEXT_FRAMES, size, size, 3), dtype=np.uint8)
    actions = np.zeros((CONTEXT_FRAMES, ACTION_DIM), np.float32)
    task = TaskId(recipe.env.suite, 0, "pick up the object")
    keyframe = Keyframe(task, Start("bench", 0), "initial", context, actions, np.zeros(1))
    reward = build_reward(recipe.reward.model).eval()
    config = ImaginationConfig(solver_steps=recipe.rl.solver_steps, max_chunks=chunks, every_frame=every_frame)
    env = WorldModelEnv(model, reward.reward_function(embed_tensor), config)
    chunk = torch.from_numpy(rng.uniform(-1, 1, (batch, CHUNK, ACTION_DIM)).astype(np.float32))

    def job() -> int:
        env.reset([keyframe] * batch, list(range(batch)))
        for _ in range(chunks):
            env.step(chunk)
        return batch * chunks * CHUNK

    return job


def _compiled(model: WorldModel, job: Callable[[], int]) -> Callable[[], int]:
    def compiled() -> int:
        with compiled_blocks(model.transformer):
            return job()

    return compiled


def _our_loop(recipe: Recipe, model: WorldModel, batch: int) -> Callable[[], int]:
    """One chunk: what `WorldModelEnv.step` does but for the judging."""
    side = recipe.world_model.model.codec.image_size // recipe.world_model.model.codec.spatial
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(batch, CONTEXT_LATENTS, model.codec.channels, side, side, generator=generator)
    actions = torch.zeros(batch, WINDOW, ACTION_DIM)
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]

    @torch.no_grad()
    def job() -> int:
        future = model.imagine_chunk(context, actions, recipe.rl.solver_steps, generators)
        with autocast():
            frames = model.codec.decode(torch.cat([context, future], dim=1), last=CHUNK)
        return frames.shape[0] * frames.shape[1]

    return job


def _stock_loop(recipe: Recipe, model: WorldModel, batch: int, steps: int) -> Callable[[], int]:
    """The loop of diffusers' WanPipeline without its text: transformer, scheduler step, decoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel

    config = recipe.world_model.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = WanTransformer3DModel(
            patch_size=(1, config.patch, config.patch),
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            in_channels=model.codec.channels,
            out_channels=model.codec.channels,
            text_dim=ACTION_DIM,
            ffn_dim=config.ffn_ratio * config.heads * config.head_dim,
            num_layers=config.layers,
            rope_max_seq_len=64,
        )
    network.eval()
    scheduler: Any = FlowMatchEulerDiscreteScheduler()
    side = config.codec.image_size // config.codec.spatial
    latents = CONTEXT_LATENTS + CHUNK // GROUP
    per_frame = (side // config.patch) ** 2
    context = torch.randn(batch, model.codec.channels, latents, side, side, generator=torch.Generator().manual_seed(1))
    actions = torch.zeros(batch, GROUP * latents, ACTION_DIM)

    @torch.no_grad()
    def job() -> int:
        scheduler.set_timesteps(steps)
        x = context.clone()
        with autocast():
            for t in scheduler.timesteps:
                times = t.expand(batch, latents * per_frame).clone()
                times[:, : CONTEXT_LATENTS * per_frame] = 0
                velocity = network(x, times, actions, return_dict=False)[0]
                x = scheduler.step(velocity.float(), t, x, return_dict=False)[0]
                x[:, :, :CONTEXT_LATENTS] = context[:, :, :CONTEXT_LATENTS]
            frames = model.codec.decode(x.transpose(1, 2), last=CHUNK)
        return frames.shape[0] * frames.shape[1]

    return job


def _simulator(recipe: Recipe, steps: int = 40) -> Callable[[], int]:
    env = LiberoEnv(recipe.env, recipe.tasks[0])
    env.reset(0)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (steps, ACTION_DIM)).astype(np.float32)

    def job() -> int:
        for action in actions:
            env.step(action)
        return steps

    return job


def _steps(count: int) -> str:
    return f"{count} solver step{'' if count == 1 else 's'}"
