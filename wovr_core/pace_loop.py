"""PACE on autopilot, top to bottom: practise in imagination, look how far policy and world model have drifted apart,
refine when it is time and the budget allows, promote or keep, and write every round down.

It goes on from the models of a finished main job and leaves those alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wovr_core.coevolution.autopilot import AutopilotConfig, Ledger
from wovr_core.envs.job_pool import JobPool
from wovr_core.errors import WovrError
from wovr_core.model_files import version_of
from wovr_core.recipes import Recipe
from wovr_core.run_folder import Run
from wovr_core.stages import pace, select_keyframes, train_policy_rl
from wovr_core.stages.folder import read_outputs
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.rl_gate import GateSimulator

LEDGER = "autopilot.jsonl"


@dataclass(frozen=True)
class State:
    """What a round begins with."""

    simulator: Simulator
    reference: Path
    """The policy at the last refinement."""
    episodes: tuple[str, ...]
    versions: tuple[str, ...]
    calibration_episodes: tuple[str, ...]
    baseline: float | None = None
    spent: int = 0
    held_out: tuple[str, ...] = ()
    """Of the episodes, by `load_named`: those that the first world model never saw."""


def state_of(run: Path) -> State:
    """A main job's base policy, first world model and reward. Raises WovrError when one is not finished."""

    def outputs(stage: str) -> dict[str, Any]:
        found = read_outputs(run / stage)
        if found is None:
            raise WovrError(f"{run} has no finished stage {stage!r}; run `wovr run reward --run {run.name}` first")
        return found

    base, demos, policy = outputs("collect_base"), outputs("collect"), Path(outputs("sft")["policy"])
    world_model, reward = outputs("world_model"), outputs("reward")
    return State(
        simulator=Simulator(policy, Path(world_model["world_model"]), Path(reward["reward"])),
        reference=policy,
        episodes=(base["episodes"], demos["episodes"]),
        versions=(base["version"], demos["version"]),
        calibration_episodes=tuple(reward["held_out"]),
        held_out=tuple(world_model["held_out"]),
    )


def autopilot(
    run: Run, recipe: Recipe, config: AutopilotConfig, rounds: int, pool: JobPool, probe_episodes: int = 2
) -> Iterator[dict[str, Any]]:
    """Rounds of practice and PACE; each is in the ledger, RUN/autopilot.jsonl, when it is yielded. Resumes.

    probe_episodes: real episodes a task that show the world model's error, where the policy has drifted.
    """
    torch.set_num_threads(recipe.threads)
    ledger, state = Ledger(run.path / LEDGER), state_of(run.path)
    probe = replace(recipe.collect_evolved, episodes=probe_episodes)
    pace_config = pace.PaceConfig(config, probe, recipe.collect_evolved, recipe.refine)
    for number in range(1, rounds + 1):
        seed, name = recipe.seed + number, f"pilot{number:02d}"
        kf_inputs = select_keyframes.KeyframeInputs(state.episodes, state.versions, state.simulator.world_model, seed)
        starts = run.stage(f"{name}_keyframes", select_keyframes.run, recipe.keyframes, kf_inputs)
        gate = GateSimulator(recipe.env, pool)
        real = train_policy_rl.real_folders(recipe.rl, state.episodes, state.versions)
        rl_inputs = train_policy_rl.PolicyRLInputs(
            state.simulator, starts.keyframes, starts.version, seed, gate, real=real
        )
        practised = run.stage(f"{name}_rl", train_policy_rl.run, recipe.rl, rl_inputs)
        look = partial(run.stage, f"{name}_pace", pace.run)
        entry, state = pace_round(number, state, Path(practised.policy), look, pace_config, recipe, pool)
        ledger.add(entry)
        yield entry


def pace_round(
    number: int,
    state: State,
    policy: Path,
    look: Callable[[pace.PaceConfig, pace.PaceInputs], pace.PaceOutputs],
    config: pace.PaceConfig,
    recipe: Recipe,
    pool: JobPool,
) -> tuple[dict[str, Any], State]:
    """What follows practice: look at the policy that came out of it, refine if it is time.

    Args:
        number: of the round, from 1.
        state: what the policy practised with.
        look: runs `pace.run` in a folder of the caller's choice.

    Returns:
        The ledger's entry, and what the next round begins with.
    """
    before = replace(state.simulator, policy=policy)
    inputs = pace.PaceInputs(
        env=recipe.env,
        tasks=recipe.tasks,
        pool=pool,
        simulator=before,
        reference=state.reference,
        episodes=state.episodes,
        versions=state.versions,
        calibration_episodes=state.calibration_episodes,
        reward_training=recipe.reward,
        baseline=state.baseline,
        spent=state.spent,
        seed=recipe.seed + number,
        held_out=state.held_out,
    )
    done = look(config, inputs)
    entry = {"round": number, "practised_with": state.simulator.versions()} | _entry(before, done)
    return entry, State(
        simulator=Simulator(policy, Path(done.world_model), Path(done.reward)),
        reference=Path(done.reference),
        episodes=tuple(done.episodes),
        versions=tuple(done.versions),
        calibration_episodes=state.calibration_episodes,
        baseline=done.baseline,
        spent=done.spent,
        held_out=state.held_out,
    )


def _entry(before: Simulator, done: pace.PaceOutputs) -> dict[str, Any]:
    refined = done.refined or {}
    candidates = {}
    if done.refined is not None:
        # The refined models lie beside each other, promoted or not.
        folder = Path(done.episodes[-1]).parents[1] / "refine"
        candidates = {kind: version_of(folder / kind) for kind in ("world_model", "reward")}
    return {
        "policy": version_of(before.policy),
        "action": done.action,
        "reason": done.reason,
        "drift": round(done.drift, 6),
        "error": done.error,
        "candidates": candidates,
        "promoted": {kind: bool(refined.get(f"{kind}_promoted", False)) for kind in candidates},
        "before": refined.get("before", {}),
        "after": refined.get("after", {}),
        "world_model": version_of(Path(done.world_model)),
        "reward": version_of(Path(done.reward)),
        "spent": done.spent,
    }
