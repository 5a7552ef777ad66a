"""The world-model study: each ablation trained alike on the suite's shared episodes, measured on longer ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from workbench.reproduce.arms import WORLD_MODELS, find_arm
from workbench.reproduce.job import ArmJob
from workbench.reproduce.results import Row
from workbench.reproduce.stage_store import StageStore
from wovr_core.config import from_dict, to_dict
from wovr_core.envs.pool import EnvPool
from wovr_core.recipes import Recipe
from wovr_core.stages import collect_long, measure_world_model, train_probe
from wovr_core.world_model.model import WorldModelConfig

HORIZONS = measure_world_model.MeasureConfig().horizons


def quality_rows(store: StageStore, recipe: Recipe, name: str, seed: int, pool: EnvPool) -> list[Row]:
    """One row per horizon. `seed` is that of the world model's training; its episodes and autoencoder are shared."""
    job = ArmJob(store, recipe, find_arm("base"), recipe.seed, pool)
    shared = job.shared()
    keys = to_dict(recipe.world_model.model) | WORLD_MODELS[name]
    config = replace(recipe.world_model, model=from_dict(WorldModelConfig, keys, f"world model {name}"))
    made = job.world_model(shared, config, seed)
    long_inputs = collect_long.CollectLongInputs(recipe.env, recipe.tasks, shared.base, recipe.seed, pool)
    long_config = collect_long.CollectLongConfig(steps=max(HORIZONS))
    episodes = store.stage("collect_long", collect_long.run, long_config, long_inputs)
    probe_inputs = train_probe.ProbeInputs(recipe.env, shared.folders, shared.versions, recipe.seed, pool)
    # The probe learns about as long as the reward classifier: both read single frames.
    probe_config = replace(
        train_probe.for_recipe(recipe.env.size),
        steps=max(recipe.reward.steps, 20),
        held_out=recipe.world_model.held_out,
    )
    probe = store.stage("probe", train_probe.run, probe_config, probe_inputs)
    measure_inputs = measure_world_model.MeasureInputs(
        recipe.env,
        Path(made.world_model),
        Path(probe.probe),
        (episodes.episodes,),
        (episodes.version,),
        seed,
        pool,
    )
    measure_config = measure_world_model.MeasureConfig(HORIZONS, recipe.rl.solver_steps)
    quality = store.stage("quality", measure_world_model.run, measure_config, measure_inputs)
    return [dict(row) | {"variant": name, "frames_per_second": quality.frames_per_second} for row in quality.rows]
