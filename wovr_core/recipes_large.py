"""Recipes for GPUs, trained under accelerate: `accelerate launch -m apps.cli world-model train --recipe ...`."""

from __future__ import annotations

from wovr_core.data.keyframes import KeyframeConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.recipes import Recipe
from wovr_core.reward.classifier import RewardConfig
from wovr_core.stages.collect import CollectConfig, CollectPolicyConfig
from wovr_core.stages.evaluate import EvaluateConfig
from wovr_core.stages.imagine import ImagineConfig
from wovr_core.stages.refine_world_model import RefineConfig
from wovr_core.stages.train_policy_rl import PolicyRLConfig
from wovr_core.stages.train_policy_sft import PolicySFTConfig
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.stages.train_world_model import (
    AutoencoderTraining,
    LargeTraining,
    TransformerTraining,
    WorldModelTrainingConfig,
)
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WanConfig, WorldModelConfig
from wovr_core.world_model.pretrained import PretrainedConfig


def wan22_5b() -> Recipe:
    """Wan2.2-TI2V-5B with action channels, 256 px, at the paper's budget: 2,500 real episodes of a suite."""
    size = 256
    transformer = TransformerTraining(
        steps=20000, batch=4, learning_rate=2e-5, warmup=500, ema_decay=0.999, large=LargeTraining()
    )
    return Recipe(
        name="wan22_5b",
        threads=8,
        workers=16,
        tasks=tuple(range(10)),
        env=LiberoConfig(suite="libero_spatial", size=size),
        collect=CollectConfig(clean=50, faulty=0),
        sft=PolicySFTConfig(policy=TinyVLAConfig(image_size=size), demonstrations=1, steps=20000),
        collect_base=CollectPolicyConfig(episodes=150),
        world_model=WorldModelTrainingConfig(
            model=WorldModelConfig(
                wan=WanConfig(), layers=30, heads=24, head_dim=128, patch=2, sigma_shift=5.0, context_noise=0.3
            ),
            pretrained=PretrainedConfig(),
            transformer=transformer,
            held_out=40,
            horizons=(8, 128, 256, 512),
            solver_steps=5,
        ),
        reward=RewardTrainingConfig(model=RewardConfig(image_size=size, width=64), steps=20000, held_out=200),
        keyframes=KeyframeConfig(count=2000),
        rl=PolicyRLConfig(updates=100, groups=64, group_size=8, chunks=32, solver_steps=5),
        collect_evolved=CollectPolicyConfig(episodes=100),
        refine=RefineConfig(
            transformer=TransformerTraining(
                steps=4000, batch=4, learning_rate=1e-5, warmup=100, ema_decay=0.999, large=LargeTraining()
            ),
            held_out=100,
            solver_steps=5,
        ),
        imagine=ImagineConfig(starts=100, group_size=8, chunks=32, solver_steps=5),
        evaluate=EvaluateConfig(trials=50),
    )


def gpu24() -> Recipe:
    """One GPU of 24 GB, nothing downloaded: a world model of 200 M at 128 px on an autoencoder of its own."""
    size = 128
    transformer = TransformerTraining(
        steps=60000, batch=16, learning_rate=2e-4, warmup=1000, ema_decay=0.999, large=LargeTraining()
    )
    return Recipe(
        name="gpu24",
        threads=8,
        workers=8,
        tasks=tuple(range(10)),
        env=LiberoConfig(suite="libero_object", size=size),
        collect=CollectConfig(clean=50, faulty=20),
        sft=PolicySFTConfig(policy=TinyVLAConfig(image_size=size, width=96), demonstrations=10, steps=30000, batch=64),
        collect_base=CollectPolicyConfig(episodes=100),
        world_model=WorldModelTrainingConfig(
            model=WorldModelConfig(
                codec=AutoencoderConfig(image_size=size, latent_channels=16, width=128, blocks=(2, 2)),
                layers=20,
                heads=12,
                head_dim=64,
            ),
            autoencoder=AutoencoderTraining(steps=30000, batch=64, learning_rate=1e-3),
            transformer=transformer,
            held_out=40,
            horizons=(8, 32, 64, 128, 256),
            solver_steps=3,
        ),
        reward=RewardTrainingConfig(model=RewardConfig(image_size=size, width=48), steps=10000, held_out=120),
        keyframes=KeyframeConfig(count=1000),
        rl=PolicyRLConfig(updates=60, groups=16, group_size=8, chunks=24, solver_steps=3),
        collect_evolved=CollectPolicyConfig(episodes=40),
        refine=RefineConfig(
            transformer=TransformerTraining(
                steps=6000, batch=16, learning_rate=1e-4, warmup=100, ema_decay=0.999, large=LargeTraining()
            ),
            held_out=40,
            solver_steps=3,
        ),
        imagine=ImagineConfig(starts=80, group_size=8, chunks=24, solver_steps=3),
        evaluate=EvaluateConfig(trials=50),
    )
