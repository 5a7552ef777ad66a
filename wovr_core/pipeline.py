"""The main job, top to bottom: WoVR on real LIBERO (method.md; arXiv 2602.13977).

A generator: it yields each stage's name as that stage finishes, so that a caller may stop after any of them.
Finished stages return at once with what they gave; interrupted ones go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.pool import EnvPool
from wovr_core.recipes import Recipe
from wovr_core.run_folder import Run
from wovr_core.stages import (
    audit,
    collect,
    evaluate,
    imagine,
    refine_world_model,
    select_keyframes,
    train_policy_rl,
    train_policy_sft,
    train_reward,
    train_world_model,
)
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.rl_gate import GateSimulator

STAGES = {
    "collect": "real demonstrations of the scripted expert, clean and faulty",
    "sft": "the base policy, by imitation",
    "collect_base": "real episodes of the base policy",
    "evaluate_base": "real success of the base policy on LIBERO's initial states",
    "world_model": "autoencoder and action-conditioned transformer",
    "reward": "success classifier, calibrated",
    "keyframes": "starts of imagined rollouts (KIR)",
    "rl": "masked GRPO in imagination, first round",
    "collect_evolved": "real episodes of the evolved policy (PACE)",
    "refine": "refined world model and reward, promoted if better (PACE)",
    "keyframes_evolved": "starts from the evolved policy's failures",
    "rl_evolved": "masked GRPO in imagination, second round",
    "imagine": "rollouts of the final policy, to be looked at",
    "audit": "the same actions in the simulator: false-success rate",
    "evaluate": "real success of the final policy on the same initial states",
}


def main_job(run: Run, cluster: JobPool | None = None) -> Iterator[str]:
    """Collect, imitate, learn to imagine and to judge, improve in imagination, refine, improve, audit, evaluate.

    cluster: runs episodes and imagined batches in place of this machine's processes, with equal results.
    """
    if cluster is not None:
        yield from _stages(run, run.recipe, cluster, cluster)
        return
    with EnvPool(workers=run.recipe.workers) as pool:
        yield from _stages(run, run.recipe, pool)


def _stages(run: Run, recipe: Recipe, pool: JobPool, imaginers: JobPool | None = None) -> Iterator[str]:
    torch.set_num_threads(recipe.threads)
    seed, common = recipe.seed, (recipe.env, recipe.tasks, recipe.seed, pool)

    demos = run.stage("collect", collect.run, recipe.collect, collect.CollectInputs(*common))
    yield "collect"
    sft_inputs = train_policy_sft.PolicySFTInputs(demos.episodes, demos.version, seed)
    base = run.stage("sft", train_policy_sft.run, recipe.sft, sft_inputs)
    yield "sft"
    base_inputs = collect.CollectInputs(*common, policy=Path(base.policy))
    base_episodes = run.stage("collect_base", collect.run_policy_episodes, recipe.collect_base, base_inputs)
    yield "collect_base"
    run.stage("evaluate_base", evaluate.run, recipe.evaluate, _trials(recipe, pool, base.policy))
    yield "evaluate_base"

    # The current policy's episodes come first: keyframes and world model are about what it meets.
    folders = (base_episodes.episodes, demos.episodes)
    versions = (base_episodes.version, demos.version)
    wm_inputs = train_world_model.WorldModelInputs(folders, versions, seed)
    world_model = run.stage("world_model", train_world_model.run, recipe.world_model, wm_inputs)
    yield "world_model"
    reward_inputs = train_reward.RewardInputs(folders, versions, Path(world_model.world_model), seed)
    reward = run.stage("reward", train_reward.run, recipe.reward, reward_inputs)
    yield "reward"

    kf_inputs = select_keyframes.KeyframeInputs(folders, versions, Path(world_model.world_model), seed)
    keyframes = run.stage("keyframes", select_keyframes.run, recipe.keyframes, kf_inputs)
    yield "keyframes"
    simulator = Simulator(Path(base.policy), Path(world_model.world_model), Path(reward.reward))
    gate = GateSimulator(recipe.env, pool)
    real = train_policy_rl.real_folders(recipe.rl, folders, versions)
    rl_inputs = train_policy_rl.PolicyRLInputs(simulator, keyframes.keyframes, keyframes.version, seed, gate, real=real)
    evolved = run.stage("rl", train_policy_rl.run, recipe.rl, rl_inputs)
    yield "rl"

    pace_inputs = collect.CollectInputs(recipe.env, recipe.tasks, seed + 1, pool, Path(evolved.policy))
    new = run.stage("collect_evolved", collect.run_policy_episodes, recipe.collect_evolved, pace_inputs)
    yield "collect_evolved"
    refine_inputs = refine_world_model.RefineInputs(
        old_episodes=folders,
        new_episodes=new.episodes,
        versions=(*versions, new.version),
        world_model=simulator.world_model,
        reward=simulator.reward,
        calibration_episodes=tuple(reward.held_out),
        reward_training=recipe.reward,
        seed=seed,
    )
    refined = run.stage("refine", refine_world_model.run, recipe.refine, refine_inputs)
    yield "refine"
    seen, seen_versions = (new.episodes, *folders), (new.version, *versions)
    kf_inputs = select_keyframes.KeyframeInputs(seen, seen_versions, Path(refined.world_model), seed + 1)
    keyframes = run.stage("keyframes_evolved", select_keyframes.run, recipe.keyframes, kf_inputs)
    yield "keyframes_evolved"
    simulator = Simulator(Path(evolved.policy), Path(refined.world_model), Path(refined.reward))
    real = train_policy_rl.real_folders(recipe.rl, seen, seen_versions)
    rl_inputs = train_policy_rl.PolicyRLInputs(
        simulator, keyframes.keyframes, keyframes.version, seed + 1, gate, real=real
    )
    final = run.stage("rl_evolved", train_policy_rl.run, recipe.rl, rl_inputs)
    yield "rl_evolved"

    simulator = Simulator(Path(final.policy), simulator.world_model, simulator.reward)
    imagine_inputs = imagine.ImagineInputs(simulator, keyframes.keyframes, keyframes.version, seed, imaginers)
    rollouts = run.stage("imagine", imagine.run, recipe.imagine, imagine_inputs)
    yield "imagine"
    audit_inputs = audit.AuditInputs(recipe.env, rollouts.rollouts, rollouts.version, pool)
    run.stage("audit", audit.run, recipe.audit, audit_inputs)
    yield "audit"
    run.stage("evaluate", evaluate.run, recipe.evaluate, _trials(recipe, pool, final.policy))
    yield "evaluate"


def _trials(recipe: Recipe, pool: JobPool, policy: str) -> evaluate.EvaluateInputs:
    return evaluate.EvaluateInputs(recipe.env, recipe.tasks, Path(policy), recipe.seed, pool)
