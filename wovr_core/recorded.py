"""The main job for episodes that were recorded elsewhere, of tasks that no simulator here has: a real arm's, imported.

Whatever learns from pictures and actions is there. What executes something is not: no episodes of the policy are
collected, none are evaluated, nothing is audited. Those belong to the arm (`wovr robot`).

What asks least of the episodes comes first: world model and keyframes take any, the reward those whose success is known
frame by frame, the policy successful demonstrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.pipeline import STAGES
from wovr_core.run_folder import Run
from wovr_core.stages import (
    imagine,
    select_keyframes,
    train_policy_rl,
    train_policy_sft,
    train_reward,
    train_world_model,
)
from wovr_core.stages.folder import OUTPUTS, read_outputs
from wovr_core.stages.imagine import Simulator

RECORDED_STAGES = ("world_model", "keyframes", "reward", "sft", "rl", "imagine")
"""In this order. They are configured and named as in the main job."""


def is_recorded(run: Path) -> bool:
    """Whether the run holds imported episodes that the main job did not take over (`import_episodes.adopt`)."""
    return (run / "import" / OUTPUTS).is_file() and not (run / "collect").exists()


def check_recorded(stage: str) -> None:
    """Raises WovrError for a stage of the main job that needs a simulator, UnknownNameError for no stage at all."""
    if stage in ("pipeline", *RECORDED_STAGES):
        return
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, ["pipeline", *RECORDED_STAGES])
    raise WovrError(
        f"the stage {stage} needs a simulator, and the tasks of this run's imported episodes have none here; "
        f"there are: {', '.join(RECORDED_STAGES)}"
    )


def recorded_job(run: Run) -> Iterator[str]:
    """Learn to imagine and to judge what was recorded, imitate it, improve in imagination; as `pipeline.main_job`."""
    recipe, seed = run.recipe, run.recipe.seed
    torch.set_num_threads(recipe.threads)
    imported = read_outputs(run.path / "import")
    if imported is None:
        raise WovrError(f"{run.path} has no imported episodes; import some with `wovr import`")
    episodes, version = str(run.path / "import" / "episodes"), str(imported["version"])

    wm_inputs = train_world_model.WorldModelInputs((episodes,), (version,), seed)
    made = run.stage("world_model", train_world_model.run, recipe.world_model, wm_inputs)
    world_model = Path(made.world_model)
    yield "world_model"
    kf_inputs = select_keyframes.KeyframeInputs((episodes,), (version,), world_model, seed, replayable=False)
    keyframes = run.stage("keyframes", select_keyframes.run, recipe.keyframes, kf_inputs)
    yield "keyframes"
    reward_inputs = train_reward.RewardInputs((episodes,), (version,), world_model, seed)
    reward = run.stage("reward", train_reward.run, recipe.reward, reward_inputs)
    yield "reward"

    sft_inputs = train_policy_sft.PolicySFTInputs(episodes, version, seed)
    base = run.stage("sft", train_policy_sft.run, recipe.sft, sft_inputs)
    yield "sft"
    simulator = Simulator(Path(base.policy), world_model, Path(reward.reward))
    real = train_policy_rl.real_folders(recipe.rl, (episodes,), (version,))
    rl_inputs = train_policy_rl.PolicyRLInputs(simulator, keyframes.keyframes, keyframes.version, seed, real=real)
    evolved = run.stage("rl", train_policy_rl.run, recipe.rl, rl_inputs)
    yield "rl"
    simulator = Simulator(Path(evolved.policy), world_model, Path(reward.reward))
    imagine_inputs = imagine.ImagineInputs(simulator, keyframes.keyframes, keyframes.version, seed)
    run.stage("imagine", imagine.run, recipe.imagine, imagine_inputs)
    yield "imagine"
