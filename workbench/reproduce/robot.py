"""The paper's real-robot experiment in miniature, on the simulated lab (arXiv 2602.13977, section on the Franka).

collect -> sft                     a base policy from a few imported demonstrations
recorded                           its own episodes, through the runner, as on a robot
world_model -> reward              learned from what was recorded
beside                             recorded actions imagined, beside the recorded film
keyframes -> rl                    starts before its failures (KIR), masked GRPO in imagination
evaluation                         before against after by the protocol: blinded, in blocks, 2 x `trials`
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.reproduce.results import Results
from workbench.reproduce.robot_results import AFTER, BEFORE, publish
from workbench.reproduce.robot_stages import BesideConfig, BesideInputs, RecordConfig, RecordInputs, beside, record
from workbench.robot_report import write_robot_report
from workbench.robot_station import LabSettings, actors, plan_in_lab
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.files import read_json, write_json
from wovr_core.model_files import version_of
from wovr_core.recipes import Recipe
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.operators import SIMULATOR, LabOperator
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig
from wovr_core.robots.evaluation.session import Station, run_session
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.runner import RunnerConfig
from wovr_core.run_folder import Run
from wovr_core.stages import (
    collect,
    select_keyframes,
    train_policy_rl,
    train_policy_sft,
    train_reward,
    train_world_model,
)
from wovr_core.stages.imagine import Simulator

logger = logging.getLogger("wovr.reproduce.robot")
COMMAND = "wovr reproduce robot"


@dataclass(frozen=True)
class RobotStudyConfig:
    """The study's own numbers; all else is the recipe's."""

    episodes: int = 24
    """Of the base policy, recorded in the lab."""
    trials: int = 30
    """Of each policy, in the evaluation."""
    beside: int = 4
    """Recorded episodes that are imagined again from their actions."""
    temperature: float = 1.0
    """Of the base policy while it is recorded, and of both in the evaluation."""


def run_robot_study(
    config: RobotStudyConfig, recipe: Recipe, path: Path, results: Path, told: Callable[[str], None] = logger.info
) -> Iterator[str]:
    """All of it, resumable; yields each part's name as it is finished. The last writes `results/robot.json`.

    Raises:
        WovrError: recipe and study do not fit together.
    """
    if len(recipe.tasks) != 1:
        raise WovrError("the robot study is of one task, for example --set tasks=[0]")
    with EnvPool(workers=recipe.workers) as pool, Run(path, recipe) as run:
        yield from _study(config, recipe, run, pool, results, told)


def _study(
    config: RobotStudyConfig, recipe: Recipe, run: Run, pool: EnvPool, results: Path, told: Callable[[str], None]
) -> Iterator[str]:
    import torch

    torch.set_num_threads(recipe.threads)
    seed = recipe.seed
    demos = run.stage(
        "collect", collect.run, recipe.collect, collect.CollectInputs(recipe.env, recipe.tasks, seed, pool)
    )
    yield "collect"
    sft_inputs = train_policy_sft.PolicySFTInputs(demos.episodes, demos.version, seed)
    base = run.stage("sft", train_policy_sft.run, recipe.sft, sft_inputs)
    yield "sft"

    lab = LabConfig(recipe.env, recipe.tasks[0], conditions="training")
    recording = RecordConfig(config.episodes, config.temperature, recipe.collect_base.max_steps)
    recorded = run.stage("recorded", record, recording, RecordInputs(lab, Path(base.policy), seed))
    told(f"recorded {recorded.count} episodes in the lab, {recorded.successes} successful")
    yield "recorded"

    folders, versions = (recorded.episodes, demos.episodes), (recorded.version, demos.version)
    wm_inputs = train_world_model.WorldModelInputs(folders, versions, seed)
    world_model = Path(run.stage("world_model", train_world_model.run, recipe.world_model, wm_inputs).world_model)
    yield "world_model"
    reward_inputs = train_reward.RewardInputs(folders, versions, world_model, seed)
    reward = run.stage("reward", train_reward.run, recipe.reward, reward_inputs)
    if not reward.calibration["true_positives"]:
        told(
            f"the classifier recognises none of {reward.calibration['successes']} held-out successes at its threshold "
            f"({reward.calibration['threshold']:.3f}): RL will hardly see one; train it longer (--set reward.steps=...)"
        )
    yield "reward"
    beside_inputs = BesideInputs(recorded.episodes, recorded.version, world_model, seed)
    laid = run.stage("beside", beside, BesideConfig(config.beside, recipe.rl.solver_steps), beside_inputs)
    yield "beside"

    # As on a real arm: frames, actions and poses suffice. That the lab also has states is not made use of.
    kf_inputs = select_keyframes.KeyframeInputs(folders, versions, world_model, seed, replayable=False)
    keyframes = run.stage("keyframes", select_keyframes.run, recipe.keyframes, kf_inputs)
    yield "keyframes"
    simulator = Simulator(Path(base.policy), world_model, Path(reward.reward))
    real = train_policy_rl.real_folders(recipe.rl, folders, versions)
    rl_inputs = train_policy_rl.PolicyRLInputs(simulator, keyframes.keyframes, keyframes.version, seed, real=real)
    evolved = run.stage("rl", train_policy_rl.run, recipe.rl, rl_inputs)
    told(f"{evolved.informative_groups} of {evolved.groups} imagined groups taught something")
    yield "rl"

    policies = {BEFORE: Path(base.policy), AFTER: Path(evolved.policy)}
    report = evaluate(config, recipe, run.path / "evaluation", policies, told)
    by_name = {policy["name"]: policy for policy in report["policies"]}
    facts: dict[str, Any] = {
        "suite": recipe.env.suite,
        "task": recipe.tasks[0],
        "seed": seed,
        "recorded": recorded.count,
        "recorded_successes": recorded.successes,
        "starts_from_failures": keyframes.from_failures,
        "informative_groups": [evolved.informative_groups, evolved.groups],
        "policy_change": evolved.parameter_change,
        "imagined_beside_recorded": laid.psnr_moving,
        "frozen_beside_recorded": laid.frozen,
        "barnard_p": report["comparison"]["barnard_p"],
        "records": report["digests"]["records"],
        **publish(run.path / "evaluation", laid.films, results, (recipe.env.suite, recipe.tasks[0], seed)),
    }
    rows = [
        {**facts, "arm": name, "successes": policy["successes"], "trials": policy["trials"]}
        for name, policy in by_name.items()
    ]
    Results(results / "robot.json", COMMAND).put(rows)
    yield "evaluation"


def evaluate(
    config: RobotStudyConfig, recipe: Recipe, folder: Path, policies: dict[str, Path], told: Callable[[str], None]
) -> dict[str, Any]:
    """Both policies by the protocol, in the lab; returns the report. Goes on where it stopped."""
    env = recipe.env
    settings = LabSettings(env.suite, recipe.tasks[0], env.size, env.view, temperature=config.temperature)
    if not (folder / "plan.json").exists():
        # Nobody is there to look at films a second time: that is declared, not left out.
        runner = RunnerConfig(max_steps=recipe.evaluate.max_steps)
        protocol = ProtocolConfig(trials=config.trials, second_labels=0.0, seed=recipe.seed, runner=runner)
        contestants = [Contestant(name, version_of(path), str(path)) for name, path in policies.items()]
        plan_in_lab("robot-study", contestants, settings, protocol, range(min(config.trials, 50)), folder)
    evaluation = Evaluation(folder)
    if evaluation.next_trial() is not None or any(t.stage == "running" for t in evaluation.standing().trials):
        with SimulatedLab(settings.config()) as lab:
            made = actors(lab, evaluation.plan.contestants, settings.temperature)
            run_session(evaluation, Station(lab, lab.camera, made, LabOperator(lab), lab.clock, lab), told=told)
    for trial in evaluation.standing().trials:
        if trial.how == "finished" and trial.operator is None:  # stopped between a trial and its label
            truth = bool((trial.last or {})["truth"])
            evaluation.label(trial.scheduled.number, SIMULATOR, truth, source=SIMULATOR)
    if evaluation.standing().unblinded is None:
        evaluation.unblind(SIMULATOR)
    _, data = write_robot_report(evaluation)
    report: dict[str, Any] = read_json(data)
    write_json(folder / "summary.json", {p["name"]: [p["successes"], p["trials"]] for p in report["policies"]})
    return report
