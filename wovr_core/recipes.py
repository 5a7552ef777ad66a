"""Recipes: functions that return a whole frozen configuration. `--set key=value` changes one key of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType

from wovr_core import plugins
from wovr_core.config import LATER
from wovr_core.data.keyframes import KeyframeConfig
from wovr_core.envs.environments import environment_of, task_of
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.reward.classifier import RewardConfig
from wovr_core.stages.audit import AuditConfig
from wovr_core.stages.collect import CollectConfig, CollectPolicyConfig
from wovr_core.stages.evaluate import EvaluateConfig
from wovr_core.stages.imagine import ImagineConfig
from wovr_core.stages.refine_world_model import RefineConfig
from wovr_core.stages.train_policy_rl import PolicyRLConfig
from wovr_core.stages.train_policy_sft import PolicySFTConfig
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.stages.train_world_model import (
    AutoencoderTraining,
    TransformerTraining,
    WorldModelTrainingConfig,
)
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModelConfig


@dataclass(frozen=True)
class Recipe:
    """The whole main job."""

    name: str
    seed: int = 0
    threads: int = 2
    """Of torch in training; pinned, because sums in another order round otherwise."""
    workers: int = 2
    """Simulator processes; results do not depend on it."""
    tasks: tuple[int, ...] = (0,)
    """Indices in the suite."""
    env: LiberoConfig = field(default_factory=LiberoConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    sft: PolicySFTConfig = field(default_factory=PolicySFTConfig)
    collect_base: CollectPolicyConfig = field(default_factory=CollectPolicyConfig)
    world_model: WorldModelTrainingConfig = field(default_factory=WorldModelTrainingConfig)
    reward: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    keyframes: KeyframeConfig = field(default_factory=KeyframeConfig)
    rl: PolicyRLConfig = field(default_factory=PolicyRLConfig)
    collect_evolved: CollectPolicyConfig = field(default_factory=CollectPolicyConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    imagine: ImagineConfig = field(default_factory=ImagineConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    rounds: int | None = field(default=None, metadata=LATER)
    """Of practice in imagination, with PACE between them (`collect_evolved`, `refine`); two unless set."""

    def __post_init__(self) -> None:
        if self.rounds is not None and self.rounds < 2:
            raise WovrError(f"rounds must be at least 2, as PACE lies between two of them, got {self.rounds}")

    @property
    def practice_rounds(self) -> int:
        """`rounds`, or the two of the paper's method."""
        return self.rounds or 2


def demo() -> Recipe:
    """The whole loop on one LIBERO-Object task within 12 minutes on 2 cores."""
    # Few tokens, and the network says what changes: minutes of training suffice for the arm to follow its actions.
    quick = WorldModelConfig(
        codec=AutoencoderConfig(latent_channels=16), patch=2, prediction="change", change_weight=4.0, time_mean=2.0
    )
    return Recipe(
        name="demo",
        tasks=(0,),
        env=LiberoConfig(suite="libero_object", size=64, view="workspace"),
        collect=CollectConfig(clean=28, faulty=24),
        sft=PolicySFTConfig(demonstrations=15, steps=700, batch=48, ema_decay=0.99),
        collect_base=CollectPolicyConfig(episodes=12, max_steps=160),
        world_model=WorldModelTrainingConfig(
            model=quick,
            autoencoder=AutoencoderTraining(steps=900),
            transformer=TransformerTraining(steps=550, batch=16, learning_rate=1e-3, ema_decay=0.99),
            held_out=6,
            horizons=(8, 32, 64, 96),
            solver_steps=1,
        ),
        reward=RewardTrainingConfig(steps=160, batch=48, learning_rate=2e-3, imagined_chunks=9, held_out=16),
        keyframes=KeyframeConfig(count=40, initial_share=0.15),
        rl=PolicyRLConfig(updates=6, groups=6, group_size=8, chunks=9),
        collect_evolved=CollectPolicyConfig(episodes=10, max_steps=160),
        refine=RefineConfig(
            transformer=TransformerTraining(steps=60, batch=16, learning_rate=3e-4, ema_decay=0.95),
            reward_steps=60,
            held_out=4,
        ),
        imagine=ImagineConfig(starts=12, group_size=4, chunks=9, solver_steps=1),
        evaluate=EvaluateConfig(trials=20, temperature=1.0, max_steps=160),
    )


def cpu() -> Recipe:
    """Three tasks of a suite with one policy on 2 cores: an hour beyond what arms share, resumable."""
    # As in the demo, few tokens and a network that says what changes; more latent channels, as they bind what a grasp
    # looks like, and many more steps.
    model = WorldModelConfig(
        codec=AutoencoderConfig(latent_channels=24), patch=2, prediction="change", change_weight=4.0, time_mean=2.0
    )
    return Recipe(
        name="cpu",
        tasks=(0, 1, 2),
        env=LiberoConfig(suite="libero_object", size=64, view="workspace"),
        collect=CollectConfig(clean=40, faulty=25),
        sft=PolicySFTConfig(demonstrations=15, steps=2500, batch=48, ema_decay=0.99),
        collect_base=CollectPolicyConfig(episodes=60, max_steps=160),
        world_model=WorldModelTrainingConfig(
            model=model,
            autoencoder=AutoencoderTraining(steps=5000),
            transformer=TransformerTraining(steps=15000, batch=16, learning_rate=6e-4, ema_decay=0.998, compile=True),
            held_out=15,
            horizons=(8, 32, 64, 96),
            solver_steps=1,
        ),
        reward=RewardTrainingConfig(
            model=RewardConfig(outcome=True),
            steps=600,
            batch=48,
            learning_rate=2e-3,
            imagined_chunks=9,
            held_out=40,
        ),
        keyframes=KeyframeConfig(count=200, initial_share=0.15, first_contact=True),
        # As far as imagination was found true (32 actions), worth what the last frame promises; many rollouts an
        # update, since the noise of few carries the policy off.
        rl=PolicyRLConfig(
            updates=20,
            groups=64,
            group_size=8,
            chunks=4,
            every_frame=False,
            outcome_worth=1.0,
            reference_weight=0.02,
            learning_rate=3e-4,
            correlation=0.7,
            shared_noise=True,
            compile=True,
            real_weight=0.2,
        ),
        collect_evolved=CollectPolicyConfig(episodes=20, max_steps=160),
        refine=RefineConfig(
            transformer=TransformerTraining(steps=300, batch=16, learning_rate=3e-4, ema_decay=0.98),
            reward_steps=200,
            held_out=6,
        ),
        imagine=ImagineConfig(starts=45, group_size=4, chunks=12, solver_steps=1),
        evaluate=EvaluateConfig(trials=50, temperature=1.0, max_steps=160),
    )


def smoke() -> Recipe:
    """Every stage at its smallest, in a minute or two: shows that the machinery works, learns nothing."""
    codec = AutoencoderConfig(image_size=32, width=16, latent_channels=4)
    return Recipe(
        name="smoke",
        tasks=(0,),
        env=LiberoConfig(suite="libero_object", size=32, view="workspace"),
        collect=CollectConfig(clean=4, faulty=2),
        sft=PolicySFTConfig(
            policy=TinyVLAConfig(image_size=32, width=16, blocks=1, keypoints=16, hidden=64),
            demonstrations=4,
            steps=20,
            batch=8,
        ),
        collect_base=CollectPolicyConfig(episodes=2, max_steps=24),
        world_model=WorldModelTrainingConfig(
            model=WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16),
            autoencoder=AutoencoderTraining(steps=10, batch=8),
            transformer=TransformerTraining(steps=10, batch=4),
            held_out=2,
            horizons=(8, 16),
            solver_steps=1,
        ),
        reward=RewardTrainingConfig(model=RewardConfig(image_size=32, width=8), steps=20, batch=16, held_out=3),
        keyframes=KeyframeConfig(count=6),
        rl=PolicyRLConfig(updates=2, groups=2, group_size=3, chunks=2),
        collect_evolved=CollectPolicyConfig(episodes=3, max_steps=24),
        refine=RefineConfig(transformer=TransformerTraining(steps=4, batch=4), reward_steps=4, held_out=1),
        imagine=ImagineConfig(starts=3, group_size=2, chunks=2, solver_steps=1),
        evaluate=EvaluateConfig(trials=2, max_steps=24),
    )


def wan22_5b() -> Recipe:
    """Wan2.2-TI2V-5B with action channels, at the paper's budget, on one large GPU or several."""
    from wovr_core import recipes_large

    return recipes_large.wan22_5b()


def gpu24() -> Recipe:
    """A world model of 200 M at 128 px, on one GPU of 24 GB."""
    from wovr_core import recipes_large

    return recipes_large.gpu24()


RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "cpu": cpu,
    "smoke": smoke,
    "gpu24": gpu24,
    "wan22_5b": wan22_5b,
}


def get(name: str) -> Recipe:
    """One of RECIPES, or a plug-in's. Raises UnknownNameError ("did you mean"), or PluginError."""
    if name in RECIPES:
        return RECIPES[name]()
    plugins.find(plugins.RECIPES, name, RECIPES)
    recipe = plugins.load(plugins.RECIPES, name, FunctionType)()
    if not isinstance(recipe, Recipe) or recipe.name != name:
        raise WovrError(f"the plug-in recipe {name!r} must return a Recipe of that name, not {recipe!r:.80}")
    return recipe


def summaries() -> dict[str, str]:
    """Name -> one line, of RECIPES and of those that plug-ins bring and that load."""
    lines = {name: _first_line(function) for name, function in RECIPES.items()}
    for info in plugins.installed(plugins.RECIPES):
        with contextlib.suppress(plugins.PluginError):  # `wovr plugins` tells of those
            lines.setdefault(info.name, _first_line(info.load(FunctionType)))
    return lines


def _first_line(function: Callable[[], Recipe]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


def check(recipe: Recipe, simulated: bool = True) -> None:
    """What would otherwise fail an hour in. Raises UnknownNameError or WovrError naming the key.

    simulated: with what concerns the environment; recorded episodes have none (`wovr_core.recorded`).
    """
    if simulated:
        _check_environment(recipe)
    sizes = {
        "env.size": recipe.env.size,
        "sft.checkpoint" if recipe.sft.checkpoint else "sft.policy.image_size": recipe.sft.image_size(recipe.env.size),
        "world_model.model.codec.image_size": recipe.world_model.model.image_size,
        "reward.model.image_size": recipe.reward.model.image_size,
    }
    if len(set(sizes.values())) > 1:
        raise WovrError(f"all frame sizes must agree, got {', '.join(f'{k}={v}' for k, v in sizes.items())}")
    if recipe.rl.outcome_worth and not recipe.reward.model.outcome:
        raise WovrError("rl.outcome_worth needs a classifier that predicts outcomes: --set reward.model.outcome=true")


def _check_environment(recipe: Recipe) -> None:
    if not recipe.tasks:
        raise WovrError("tasks is empty; name at least one task of the suite, for example --set tasks=[0]")
    for task in recipe.tasks:
        task_of(recipe.env, task)
    states = environment_of(recipe.env).evaluation_states
    if not 1 <= recipe.evaluate.trials <= states:
        raise WovrError(
            f"evaluate.trials must be 1 to {states}: {recipe.env.suite} has that many initial states a task"
        )
    if recipe.refine.held_out >= recipe.collect_evolved.episodes * len(recipe.tasks):
        raise WovrError("refine.held_out must be less than the episodes that collect_evolved collects")
