"""The evidence that the main job does not gather by itself, made afterwards: each a stage of the run, made once.

    hallucination   the audited rollouts imagined again, with other noise and other weights: how far they disagree
    probe           a network that reads off pictures where gripper and object are, for the object-state error

Both go on where they stopped, and change nothing that was there.
"""

from __future__ import annotations

from pathlib import Path

import torch

from workbench.run_data import RunData
from wovr_core.envs.job_pool import JobPool
from wovr_core.recipes import Recipe
from wovr_core.run_folder import Run
from wovr_core.stages import score_hallucination, train_probe
from wovr_core.stages.imagine import Simulator

SEEDS, PROBE = "hallucination", "probe"
"""What the stages' folders are called."""


def measure_disagreement(run: Path) -> score_hallucination.HallucinationOutputs:
    """Imagine the run's audited rollouts again; the queue ranks by what comes of it.

    Raises:
        WovrError: the run has not come as far as its audit, its models are not those that imagined, or another wovr is
            working in it.
    """
    data = RunData(run)
    recipe = data.recipe()
    made = data.finished(("refine", "rl_evolved", "imagine", "audit"))
    simulator = Simulator(
        Path(made["rl_evolved"]["policy"]), Path(made["refine"]["world_model"]), Path(made["refine"]["reward"])
    )
    inputs = score_hallucination.HallucinationInputs(
        simulator=simulator,
        rollouts=str(made["imagine"]["rollouts"]),
        version=str(made["imagine"]["version"]),
        audit_rows=str(made["audit"]["rows"]),
        seed=recipe.seed,
    )
    config = score_hallucination.HallucinationConfig(solver_steps=recipe.imagine.solver_steps)
    torch.set_num_threads(recipe.threads)
    with Run(run, recipe) as folder:
        return folder.stage(SEEDS, score_hallucination.run, config, inputs)


def train_position_probe(run: Path, pool: JobPool) -> train_probe.ProbeOutputs:
    """Train the probe on the run's real episodes, whose states say where things were. Raises as above."""
    data = RunData(run)
    recipe = data.recipe()
    made = data.finished(("collect_base", "collect"))
    inputs = train_probe.ProbeInputs(
        env=recipe.env,
        episodes=tuple(str(outputs["episodes"]) for outputs in made.values()),
        versions=tuple(str(outputs["version"]) for outputs in made.values()),
        seed=recipe.seed,
        pool=pool,
    )
    torch.set_num_threads(recipe.threads)
    with Run(run, recipe) as folder:
        return folder.stage(PROBE, train_probe.run, train_probe.for_recipe(recipe.env.size), inputs)


def recipe_of(run: Path) -> Recipe:
    """What the run was made with. Raises WovrError for a folder that is no run, or a recipe of another time."""
    return RunData(run).recipe()
