"""The main job, top to bottom: WoVR on real LIBERO (method.md; arXiv 2602.13977).

A generator: it yields each stage's name as that stage finishes, so that a caller may stop after any of them.
Finished stages return at once with what they gave; interrupted ones go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from wovr_core.data.seen_episodes import SeenEpisodes
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.pool import EnvPool
from wovr_core.recipes import Recipe
from wovr_core.rounds import round_stages
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
    "collect_evolved": "real episodes of the evolved policy (PACE); further rounds of `rounds` come before",
    "refine": "refined world model and reward, promoted if better (PACE)",
    "keyframes_evolved": "starts from the evolved policy's failures",
    "rl_evolved": "masked GRPO in imagination, last round",
    "imagine": "rollouts of the final policy, to be looked at",
    "audit": "the same actions in the simulator: false-success rate",
    "evaluate": "real success of the final policy on the same initial states",
}


def stages_of(rounds: int) -> list[str]:
    """All stages of a main job of so many rounds, in their order."""
    names = list(STAGES)
    between = [name for number in range(2, rounds) for name in round_stages(number, rounds)]
    return [*names[: names.index("collect_evolved")], *between, *names[names.index("collect_evolved") :]]


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

    seen = SeenEpisodes.before_practice(
        (base_episodes.episodes, demos.episodes), (base_episodes.version, demos.version)
    )
    wm_inputs = train_world_model.WorldModelInputs(seen.folders, seen.versions, seed)
    world_model = run.stage("world_model", train_world_model.run, recipe.world_model, wm_inputs)
    yield "world_model"
    reward_inputs = train_reward.RewardInputs(seen.folders, seen.versions, Path(world_model.world_model), seed)
    reward = run.stage("reward", train_reward.run, recipe.reward, reward_inputs)
    yield "reward"

    simulator = Simulator(Path(base.policy), Path(world_model.world_model), Path(reward.reward))
    gate = GateSimulator(recipe.env, pool)
    rounds = recipe.practice_rounds
    for number in range(1, rounds + 1):
        collecting, refining, selecting, practising = round_stages(number, rounds)
        if number > 1:
            pace_inputs = collect.CollectInputs(recipe.env, recipe.tasks, seed + number - 1, pool, simulator.policy)
            new = run.stage(collecting, collect.run_policy_episodes, recipe.collect_evolved, pace_inputs)
            yield collecting
            refine_inputs = refine_world_model.RefineInputs(
                old_episodes=seen.folders,
                new_episodes=new.episodes,
                versions=(*seen.versions, new.version),
                world_model=simulator.world_model,
                reward=simulator.reward,
                calibration_episodes=tuple(reward.held_out),
                reward_training=recipe.reward,
                seed=seed + number - 2,
            )
            refined = run.stage(refining, refine_world_model.run, recipe.refine, refine_inputs)
            yield refining
            seen = seen.joined_by(new.episodes, new.version)
            simulator = Simulator(simulator.policy, Path(refined.world_model), Path(refined.reward))
        folders, versions = seen.newest_first
        turn = seed + number - 1
        kf_inputs = select_keyframes.KeyframeInputs(folders, versions, simulator.world_model, turn)
        keyframes = run.stage(selecting, select_keyframes.run, recipe.keyframes, kf_inputs)
        yield selecting
        real = train_policy_rl.real_folders(recipe.rl, folders, versions)
        rl_inputs = train_policy_rl.PolicyRLInputs(
            simulator, keyframes.keyframes, keyframes.version, turn, gate, real=real
        )
        practised = run.stage(practising, train_policy_rl.run, recipe.rl, rl_inputs)
        yield practising
        simulator = replace(simulator, policy=Path(practised.policy))

    imagine_inputs = imagine.ImagineInputs(simulator, keyframes.keyframes, keyframes.version, seed, imaginers)
    rollouts = run.stage("imagine", imagine.run, recipe.imagine, imagine_inputs)
    yield "imagine"
    audit_inputs = audit.AuditInputs(recipe.env, rollouts.rollouts, rollouts.version, pool)
    run.stage("audit", audit.run, recipe.audit, audit_inputs)
    yield "audit"
    run.stage("evaluate", evaluate.run, recipe.evaluate, _trials(recipe, pool, practised.policy))
    yield "evaluate"


def _trials(recipe: Recipe, pool: JobPool, policy: str) -> evaluate.EvaluateInputs:
    return evaluate.EvaluateInputs(recipe.env, recipe.tasks, Path(policy), recipe.seed, pool)
