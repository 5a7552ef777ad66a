"""One round of the PACE autopilot: look at the new policy, and refine world model and reward if it is time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path

from wovr_core.coevolution.autopilot import AutopilotConfig, Decision, decide, wants_probe
from wovr_core.coevolution.drift import action_drift, probe_set
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.model_files import load_policy, load_world_model, version_of
from wovr_core.seeding import derive_seed
from wovr_core.stages.collect import CollectInputs, CollectPolicyConfig, load_named, run_policy_episodes
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.refine_world_model import RefineConfig, RefineInputs, RefineOutputs, world_model_error
from wovr_core.stages.refine_world_model import run as refine
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.world_model.model import WorldModel


@dataclass(frozen=True)
class PaceConfig:
    autopilot: AutopilotConfig = field(default_factory=AutopilotConfig)
    probe: CollectPolicyConfig = field(default_factory=lambda: CollectPolicyConfig(episodes=3))
    """Real episodes that show the world model's error."""
    collect: CollectPolicyConfig = field(default_factory=CollectPolicyConfig)
    """Real episodes that a refinement learns from, and is judged on."""
    refine: RefineConfig = field(default_factory=RefineConfig)


@dataclass(frozen=True)
class PaceInputs:
    env: LiberoConfig
    tasks: tuple[int, ...]
    pool: JobPool
    simulator: Simulator
    """The new policy, and the models it practised in."""
    reference: Path
    """The policy at the last refinement (the base policy before the first)."""
    episodes: tuple[str, ...]
    """Folders of real episodes known so far, the first of which gives the frames that policies are compared on."""
    versions: tuple[str, ...]
    calibration_episodes: tuple[str, ...]
    """As in RefineInputs."""
    reward_training: RewardTrainingConfig
    baseline: float | None
    """World-model error at the last refinement."""
    spent: int
    """Real episodes that the autopilot has spent so far."""
    seed: int
    held_out: tuple[str, ...] = ()
    """Of the episodes, by `load_named`: those that the first world model never saw. Before the first refinement, the
    error on them is what an error on the new policy's episodes is held against."""


@dataclass(frozen=True)
class PaceOutputs:
    action: str
    reason: str
    world_model: str
    reward: str
    reference: str
    """For the next round, like baseline, episodes, versions and spent."""
    baseline: float | None
    episodes: list[str]
    versions: list[str]
    spent: int
    drift: float
    error: float | None
    """Of the world model on the new policy's probe episodes, before any refinement; None if it was not looked at."""
    refined: dict[str, object] | None
    """`RefineOutputs`: both models before and after, promoted or rolled back; None without refinement."""


def run(config: PaceConfig, inputs: PaceInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics) -> PaceOutputs:
    """Drift first, which costs nothing; then, if it is worth it, real episodes; then perhaps the refinement."""
    versions = inputs.simulator.versions() | {
        "reference": version_of(inputs.reference),
        "episodes": ",".join(inputs.versions),
        "env": str(inputs.env),
        "tasks": str(list(inputs.tasks)),
        "spent": str(inputs.spent),
        "baseline": str(inputs.baseline),
        "seed": str(inputs.seed),
    }
    folder = StageFolder(out_dir, "pace", config, versions, on_metrics)
    finished = folder.outputs(PaceOutputs)
    if finished:
        return finished
    pilot = config.autopilot
    drift = _drift(config, inputs)
    spent, error, baseline = inputs.spent, None, inputs.baseline
    folders, known = list(inputs.episodes), list(inputs.versions)

    def collect(name: str, amount: CollectPolicyConfig) -> str:
        nonlocal spent
        seed = derive_seed(inputs.seed, "pace", name, inputs.spent) % 2**31
        common = CollectInputs(inputs.env, inputs.tasks, seed, inputs.pool, inputs.simulator.policy)
        made = run_policy_episodes(amount, common, folder.path / name, on_metrics)
        spent += made.count
        folders.append(made.episodes)
        known.append(made.version)
        return made.episodes

    if wants_probe(drift, pilot.budget - spent, config.probe.episodes * len(inputs.tasks), pilot):
        model, _ = load_world_model(inputs.simulator.world_model)
        probes = list(EpisodeSet(Path(collect("probe", config.probe))))
        error = world_model_error(model, probes, config.refine.solver_steps, inputs.seed)
        if baseline is None:
            baseline = _first_baseline(model, config, inputs)
    cost = config.collect.episodes * len(inputs.tasks)
    decision = decide(drift, error, baseline, pilot.budget - spent, cost, pilot)
    refined: RefineOutputs | None = None
    if decision.action == "refine":
        old = tuple(folders)
        new = collect("collect", config.collect)
        refined = _refine(config, inputs, old, new, tuple(known), folder.path / "refine", on_metrics)
    folder.log(0, {"drift": drift, "refine": float(refined is not None), "spent": spent})
    return folder.finish(_outputs(inputs, decision, refined, folders, known, spent, drift, error, baseline))


def _first_baseline(model: WorldModel, config: PaceConfig, inputs: PaceInputs) -> float | None:
    """The error on what the first world model was made for but not trained on; None where that is not known."""
    named = load_named(inputs.episodes) if inputs.held_out else {}
    error = world_model_error(model, [named[name] for name in inputs.held_out], config.refine.solver_steps, inputs.seed)
    return None if isnan(error) else error


def _drift(config: PaceConfig, inputs: PaceInputs) -> float:
    pilot = config.autopilot
    probe = probe_set(list(EpisodeSet(Path(inputs.episodes[0]))), pilot.probe_frames, seed=0)
    old, new = load_policy(inputs.reference)[0], load_policy(inputs.simulator.policy)[0]
    temperature = config.collect.temperature or 1.0
    return action_drift(old, new, probe, temperature=temperature, samples=pilot.samples, seed=inputs.seed)


def _refine(
    config: PaceConfig,
    inputs: PaceInputs,
    old: tuple[str, ...],
    new: str,
    versions: tuple[str, ...],
    out_dir: Path,
    on_metrics: OnMetrics,
) -> RefineOutputs:
    # Probe episodes are known by now: they are learned from, but do not judge.
    refine_inputs = RefineInputs(
        old_episodes=old,
        new_episodes=new,
        versions=versions,
        world_model=inputs.simulator.world_model,
        reward=inputs.simulator.reward,
        calibration_episodes=inputs.calibration_episodes,
        reward_training=inputs.reward_training,
        seed=derive_seed(inputs.seed, "pace_refine", inputs.spent) % 2**31,
    )
    return refine(config.refine, refine_inputs, out_dir, on_metrics)


def _outputs(
    inputs: PaceInputs,
    decision: Decision,
    refined: RefineOutputs | None,
    folders: list[str],
    versions: list[str],
    spent: int,
    drift: float,
    error: float | None,
    baseline: float | None,
) -> PaceOutputs:
    same = PaceOutputs(
        action=decision.action,
        reason=decision.reason,
        world_model=str(inputs.simulator.world_model),
        reward=str(inputs.simulator.reward),
        reference=str(inputs.reference),
        baseline=error if baseline is None else baseline,
        episodes=folders,
        versions=versions,
        spent=spent,
        drift=drift,
        error=error,
        refined=None,
    )
    if refined is None:
        return same
    errors = refined.after if refined.world_model_promoted else refined.before
    return replace(
        same,
        world_model=refined.world_model,
        reward=refined.reward,
        reference=str(inputs.simulator.policy),
        baseline=errors["world_model_error"],
        refined=dict(vars(refined)),
    )
