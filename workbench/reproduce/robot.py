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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.reproduce.results import Results
from workbench.reproduce.robot_results import AFTER, BEFORE, publish
from workbench.robot_report import write_robot_report
from workbench.robot_station import LabSettings, actors, plan_in_lab
from wovr_core.audit.outcomes import frame_divergence
from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_episode, write_episode
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import Interrupted, WovrError
from wovr_core.files import read_json, write_json
from wovr_core.interrupts import stop_requested
from wovr_core.model_files import load_policy, load_world_model, version_of
from wovr_core.policy.acting import PolicyActor
from wovr_core.recipes import Recipe
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.operators import SIMULATOR, LabOperator
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig
from wovr_core.robots.evaluation.session import Station, run_session
from wovr_core.robots.evaluation.video import write_video
from wovr_core.robots.lab import LabConfig, SimulatedLab
from wovr_core.robots.pictures import PictureRecipe, upright
from wovr_core.robots.runner import RunnerConfig, run_trial
from wovr_core.run_folder import Run
from wovr_core.seeding import derive_seed
from wovr_core.stages import (
    collect,
    select_keyframes,
    train_policy_rl,
    train_policy_sft,
    train_reward,
    train_world_model,
)
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator
from wovr_core.types import CHUNK

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


@dataclass(frozen=True)
class RecordConfig:
    """Episodes recorded through a robot's runner."""

    episodes: int
    temperature: float
    max_steps: int


@dataclass(frozen=True)
class RecordInputs:
    lab: LabConfig
    policy: Path
    seed: int


@dataclass(frozen=True)
class BesideConfig:
    episodes: int
    solver_steps: int = 2


@dataclass(frozen=True)
class BesideInputs:
    episodes: str
    version: str
    world_model: Path
    seed: int


@dataclass(frozen=True)
class BesideOutputs:
    films: list[str]
    """mp4, recorded on the left, imagined on the right."""
    divergence: list[float]
    """Mean absolute difference of each film, of 255."""
    frozen: list[float]
    """The same if nothing moved."""


def record(
    config: RecordConfig, inputs: RecordInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> collect.CollectOutputs:
    """A stage: a policy's episodes in the lab from training conditions, each saved before the next begins."""
    version = version_of(inputs.policy)
    versions = {"lab": str(inputs.lab), "policy": version, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "record_robot", config, versions, on_metrics)
    finished = folder.outputs(collect.CollectOutputs)
    if finished:
        return finished
    episodes = folder.path / "episodes"
    names = [f"robot-{index:04d}" for index in range(config.episodes)]
    missing = [name for name in names if not (episodes / f"{name}{SUFFIX}").exists()]
    runner = RunnerConfig(max_steps=config.max_steps, picture=PictureRecipe(size=inputs.lab.env.size))
    policy, _ = load_policy(inputs.policy)
    with SimulatedLab(inputs.lab) as lab:
        for name in missing:
            lab.arrange(derive_seed(inputs.seed, "robot_condition", name) % 2**31)
            seed = derive_seed(inputs.seed, "robot_sampling", name)
            run = run_trial(
                lab, lab.camera, PolicyActor(policy, config.temperature), lab.task, seed, runner,
                episode_id=name, source=version, clock=lab.clock, world=lab,
            )  # fmt: skip
            if run.how == "interrupted" or stop_requested():
                raise Interrupted("stopped recording; the same command goes on from there")
            if run.how != "finished" or run.episode is None:
                raise WovrError(f"{name} could not be recorded: {run.how}, {run.why}")
            write_episode(episodes, replace(run.episode, info=run.episode.info | {"view": inputs.lab.env.view}))
            folder.log(names.index(name) + 1, {"success": run.episode.succeeded, "length": run.episode.length})
    recorded = EpisodeSet(episodes)
    summaries = recorded.summaries()
    return folder.finish(
        collect.CollectOutputs(
            episodes=str(episodes),
            version=recorded.write_index(),
            count=len(summaries),
            successes=sum(s.succeeded for s in summaries),
            steps=sum(s.length for s in summaries),
        )
    )


def beside(
    config: BesideConfig, inputs: BesideInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> BesideOutputs:
    """A stage: recorded actions imagined in closed loop from the first frame, beside the recorded film."""
    from wovr_core.world_model.quality import imagine_episode

    versions = {"episodes": inputs.version, "world_model": version_of(inputs.world_model), "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "beside", config, versions, on_metrics)
    finished = folder.outputs(BesideOutputs)
    if finished:
        return finished
    model, _ = load_world_model(inputs.world_model)
    films, divergences, frozen = [], [], []
    for name, path in list(EpisodeSet(Path(inputs.episodes)).paths.items())[: config.episodes]:
        episode = read_episode(path)
        chunks = episode.length // CHUNK
        if not chunks:
            continue
        seed = derive_seed(inputs.seed, "beside", name)
        imagined = imagine_episode(model, episode.frames, episode.actions, chunks, config.solver_steps, seed)
        real = episode.frames[1 : 1 + len(imagined)]
        film = folder.path / "films" / f"{name}.mp4"
        write_video(film, np.concatenate([upright(real), upright(imagined)], axis=2), 20.0)
        films.append(str(film))
        divergences.append(round(float(frame_divergence(imagined, real).mean()), 3))
        still = np.broadcast_to(episode.frames[:1], real.shape)
        frozen.append(round(float(frame_divergence(still, real).mean()), 3))
    if films:
        folder.log(len(films), {"divergence": float(np.mean(divergences)), "frozen": float(np.mean(frozen))})
    return folder.finish(BesideOutputs(films, divergences, frozen))


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
    yield "reward"
    beside_inputs = BesideInputs(recorded.episodes, recorded.version, world_model, seed)
    laid = run.stage("beside", beside, BesideConfig(config.beside), beside_inputs)
    yield "beside"

    # As on a real arm: frames, actions and poses suffice. That the lab also has states is not made use of.
    kf_inputs = select_keyframes.KeyframeInputs(folders, versions, world_model, seed, replayable=False)
    keyframes = run.stage("keyframes", select_keyframes.run, recipe.keyframes, kf_inputs)
    yield "keyframes"
    simulator = Simulator(Path(base.policy), world_model, Path(reward.reward))
    rl_inputs = train_policy_rl.PolicyRLInputs(simulator, keyframes.keyframes, keyframes.version, seed)
    evolved = run.stage("rl", train_policy_rl.run, recipe.rl, rl_inputs)
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
        "imagined_beside_recorded": laid.divergence,
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
