"""What an arm does, top to bottom: the same stages as the main job, with the arm's switches set.

collect -> sft -> collect_base -> autoencoder -> world_model -> reward    shared by all arms (and seeds) of a suite
keyframes -> rl -> collect_new -> refine -> keyframes -> rl       practice in imagination with PACE
collect_new -> refine -> keyframes -> rl -> rl                    ... without PACE: the same number of real episodes
online                                                            practice in the simulator, on the same real budget
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from workbench.reproduce.arms import Arm
from workbench.reproduce.stage_store import StageStore
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.seen_episodes import SeenEpisodes
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.recipes import Recipe
from wovr_core.seeding import derive_seed
from wovr_core.stages import (
    audit,
    collect,
    evaluate,
    imagine,
    measure_agreement,
    refine_world_model,
    score_hallucination,
    select_keyframes,
    train_policy_online,
    train_policy_rl,
    train_policy_sft,
    train_reward,
    train_world_model,
)
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.rl_gate import GateSimulator

SHARED = ("collect", "sft", "collect_base", "autoencoder", "world_model", "reward")
"""Kinds of stages that an arm's minutes do not contain."""
JUDGING = ("evaluate", "audit_keyframes", "imagine", "audit", "hallucination", "measure", "agreement")
"""Nor these: they measure."""

ONLINE_GROUPS = 8
"""Real groups an update of the online arm has at least: its budget is spent on few updates rather than on noise."""


@dataclass(frozen=True)
class Shared:
    """What all arms of a suite start from."""

    base: Path
    """The SFT policy."""
    folders: tuple[str, ...]
    """Episode folders, the base policy's first."""
    versions: tuple[str, ...]
    demonstrations: str
    base_episodes: str

    def seen(self) -> SeenEpisodes:
        """Before any practice."""
        return SeenEpisodes.before_practice(self.folders, self.versions)


@dataclass(frozen=True)
class Trained:
    """An arm's final policy, the imagination it ended with (if any), and what it cost in real episodes."""

    policy: Path
    simulator: Simulator | None
    real: Counter[int]
    """task -> real episodes that influenced training"""


@dataclass(frozen=True)
class Outcome:
    """One task's evaluation."""

    task: int
    outcomes: tuple[bool, ...]
    """Per initial state."""


class ArmJob:
    """One arm on one suite with one seed.

    Args:
        store: of the suite's run folder.
        recipe: unchanged by the arm; its seed is that of the shared stages.
        arm: the method.
        seed: of everything that comes after the shared stages.
        pool: simulator processes.
    """

    def __init__(self, store: StageStore, recipe: Recipe, arm: Arm, seed: int, pool: EnvPool) -> None:
        self.store, self.arm, self.seed, self.pool = store, arm, seed, pool
        self.plain = recipe
        self.recipe = arm.apply(recipe)

    def train(self) -> Trained:
        """All of the arm's training."""
        torch.set_num_threads(self.recipe.threads)
        if self.arm.practice == "none":
            demos, base = self._base()
            return Trained(base, None, self._demonstrations_seen(demos.episodes))
        if self.arm.practice == "real":
            return self._practise_for_real()
        return self._practise_in_imagination()

    def evaluations(self, trained: Trained) -> Iterator[Outcome]:
        """Real success task by task, on LIBERO's own initial states."""
        for task in self.recipe.tasks:
            inputs = evaluate.EvaluateInputs(self.recipe.env, (task,), trained.policy, self.seed, self.pool)
            outputs = self.store.stage("evaluate", evaluate.run, self.recipe.evaluate, inputs)
            yield Outcome(task, tuple(outputs.outcomes[str(task)]))

    def audit(self, trained: Trained) -> audit.AuditOutputs:
        """Rollouts of the final policy in the arm's own imagination, from starts that all arms share, and the replay of
        their actions."""
        _, rollouts = self._final_rollouts(trained)
        audit_inputs = audit.AuditInputs(self.recipe.env, rollouts.rollouts, rollouts.version, self.pool)
        return self.store.stage("audit", audit.run, self.plain.audit, audit_inputs)

    def score_hallucination(self, trained: Trained) -> score_hallucination.HallucinationOutputs:
        """The label-free score of the same rollouts, held against that audit."""
        simulator, rollouts = self._final_rollouts(trained)
        rows = self.audit(trained).rows
        inputs = score_hallucination.HallucinationInputs(
            simulator, rollouts.rollouts, rollouts.version, rows, self.seed
        )
        config = score_hallucination.HallucinationConfig(solver_steps=self.plain.imagine.solver_steps)
        return self.store.stage("hallucination", score_hallucination.run, config, inputs)

    def measure_agreement(self, divisor: int) -> measure_agreement.AgreementOutputs:
        """How well imagination orders siblings of the base policy, its world model trained for 1/divisor of the steps
        (on the same autoencoder)."""
        shared, recipe, seed = self.shared(), self.recipe, self.seed
        transformer = recipe.world_model.transformer
        shorter = replace(transformer, steps=max(1, transformer.steps // divisor))
        made = self.world_model(shared, replace(recipe.world_model, transformer=shorter), recipe.seed)
        world_model = Path(made.world_model)
        reward_inputs = train_reward.RewardInputs(shared.folders, shared.versions, world_model, recipe.seed)
        reward = self.store.stage("reward", train_reward.run, recipe.reward, reward_inputs)
        keyframes = self._keyframes(shared.folders, shared.versions, world_model, seed)
        agreement_inputs = measure_agreement.AgreementInputs(
            Simulator(shared.base, world_model, Path(reward.reward)),
            keyframes.keyframes,
            keyframes.version,
            recipe.env,
            seed,
            self.pool,
        )
        agreement_config = measure_agreement.AgreementConfig(recipe.rl)
        return self.store.stage("agreement", measure_agreement.run, agreement_config, agreement_inputs)

    def _final_rollouts(self, trained: Trained) -> tuple[Simulator, imagine.ImagineOutputs]:
        if trained.simulator is None:
            raise WovrError(f"arm {self.arm.name} imagines nothing that could be audited")
        shared = self.shared()
        plain_model = self.world_model(shared, self.plain.world_model, self.plain.seed)
        inputs = select_keyframes.KeyframeInputs(
            shared.folders, shared.versions, Path(plain_model.world_model), self.plain.seed
        )
        starts = self.store.stage("audit_keyframes", select_keyframes.run, self.plain.keyframes, inputs)
        imagine_inputs = imagine.ImagineInputs(trained.simulator, starts.keyframes, starts.version, self.seed)
        return trained.simulator, self.store.stage("imagine", imagine.run, self.plain.imagine, imagine_inputs)

    def minutes(self) -> float:
        """Of the arm's own training: neither what is shared nor what only measures."""
        own = {name: s for name, s in self.store.seconds.items() if name.rsplit("-", 1)[0] not in (*SHARED, *JUDGING)}
        return sum(own.values()) / 60

    def shared(self) -> Shared:
        """Demonstrations, base policy and its episodes."""
        demos, base = self._base()
        inputs = collect.CollectInputs(self.recipe.env, self.recipe.tasks, self.recipe.seed, self.pool, policy=base)
        episodes = self.store.stage("collect_base", collect.run_policy_episodes, self.recipe.collect_base, inputs)
        # The current policy's episodes come first: keyframes and world model are about what it meets.
        folders, versions = (episodes.episodes, demos.episodes), (episodes.version, demos.version)
        return Shared(base, folders, versions, demos.episodes, episodes.episodes)

    def _base(self) -> tuple[collect.CollectOutputs, Path]:
        inputs = collect.CollectInputs(self.recipe.env, self.recipe.tasks, self.recipe.seed, self.pool)
        demos = self.store.stage("collect", collect.run, self.recipe.collect, inputs)
        sft_inputs = train_policy_sft.PolicySFTInputs(demos.episodes, demos.version, self.recipe.seed)
        base = self.store.stage("sft", train_policy_sft.run, self.recipe.sft, sft_inputs)
        return demos, Path(base.policy)

    def world_model(
        self, shared: Shared, config: train_world_model.WorldModelTrainingConfig, seed: int
    ) -> train_world_model.WorldModelOutputs:
        """A world model of the suite behind the suite's one autoencoder, on which no switch bears."""
        inputs = train_world_model.WorldModelInputs(shared.folders, shared.versions, self.plain.seed)
        autoencoder = train_world_model.autoencoder_alone(self.plain.world_model)
        if autoencoder is not None:
            behind = self.store.stage("autoencoder", train_world_model.run, autoencoder, inputs)
            inputs = replace(inputs, codec=Path(behind.world_model))
        return self.store.stage("world_model", train_world_model.run, config, replace(inputs, seed=seed))

    def _practise_in_imagination(self) -> Trained:
        shared, recipe, seed = self.shared(), self.recipe, self.seed
        world_model = Path(self.world_model(shared, recipe.world_model, recipe.seed).world_model)
        reward_inputs = train_reward.RewardInputs(shared.folders, shared.versions, world_model, recipe.seed)
        reward = self.store.stage("reward", train_reward.run, recipe.reward, reward_inputs)
        simulator = Simulator(shared.base, world_model, Path(reward.reward))
        real, seen, rounds = _per_task(shared.folders), shared.seen(), recipe.practice_rounds

        for number in range(rounds):
            # Without PACE the same number of real episodes is the base policy's, and they come before all practice.
            refines = number > 0 if self.arm.pace else number == 0
            if refines:
                new = self._collect_new(simulator.policy, number, 1 if self.arm.pace else rounds - 1)
                real += _per_task([new.episodes])
                refined = self._refine(seen, simulator, new, reward.held_out, number)
                seen = seen.joined_by(new.episodes, new.version)
                simulator = Simulator(simulator.policy, Path(refined.world_model), Path(refined.reward))
            turn = number if self.arm.pace else 1
            folders, versions = seen.newest_first
            keyframes = self._keyframes(folders, versions, simulator.world_model, seed + turn)
            practised = self._rl(simulator, keyframes, folders, versions, seed + number)
            simulator = replace(simulator, policy=Path(practised.policy))
            real += _gate_replays(practised)
        return Trained(simulator.policy, simulator, real)

    def _collect_new(self, policy: Path, number: int, times: int) -> collect.CollectOutputs:
        """Real episodes of the policy, from starts of their own whatever the seeds are: never those of the base
        policy's episodes, or of another round's, once more."""
        recipe = self.recipe
        later = (number,) if number > 1 else ()
        starts = derive_seed(recipe.seed, "collect_new", self.seed, *later) % 2**31
        inputs = collect.CollectInputs(recipe.env, recipe.tasks, starts, self.pool, policy)
        config = replace(recipe.collect_evolved, episodes=times * recipe.collect_evolved.episodes)
        return self.store.stage("collect_new", collect.run_policy_episodes, config, inputs)

    def _keyframes(
        self, folders: tuple[str, ...], versions: tuple[str, ...], world_model: Path, seed: int
    ) -> select_keyframes.KeyframeOutputs:
        inputs = select_keyframes.KeyframeInputs(folders, versions, world_model, seed)
        return self.store.stage("keyframes", select_keyframes.run, self.recipe.keyframes, inputs)

    def _rl(
        self,
        simulator: Simulator,
        keyframes: select_keyframes.KeyframeOutputs,
        folders: tuple[str, ...],
        versions: tuple[str, ...],
        seed: int,
    ) -> train_policy_rl.PolicyRLOutputs:
        gate = GateSimulator(self.recipe.env, self.pool)
        real = train_policy_rl.real_folders(self.recipe.rl, folders, versions)
        inputs = train_policy_rl.PolicyRLInputs(
            simulator, keyframes.keyframes, keyframes.version, seed, gate, real=real
        )
        return self.store.stage("rl", train_policy_rl.run, self.recipe.rl, inputs)

    def _refine(
        self,
        seen: SeenEpisodes,
        simulator: Simulator,
        new: collect.CollectOutputs,
        calibration: Sequence[str],
        number: int,
    ) -> refine_world_model.RefineOutputs:
        inputs = refine_world_model.RefineInputs(
            old_episodes=seen.folders,
            new_episodes=new.episodes,
            versions=(*seen.versions, new.version),
            world_model=simulator.world_model,
            reward=simulator.reward,
            calibration_episodes=tuple(calibration),
            reward_training=self.recipe.reward,
            seed=self.seed + max(0, number - 1),
        )
        return self.store.stage("refine", refine_world_model.run, self.recipe.refine, inputs)

    def _practise_for_real(self) -> Trained:
        demos, base = self._base()
        seen = self._demonstrations_seen(demos.episodes)
        config = train_policy_online.PolicyOnlineConfig(
            rl=self.recipe.rl,
            real_episodes=real_budget(self.recipe) - seen.total(),
            max_steps=self.recipe.evaluate.max_steps,
            least_groups=ONLINE_GROUPS,
        )
        inputs = train_policy_online.PolicyOnlineInputs(self.recipe.env, self.recipe.tasks, base, self.seed, self.pool)
        online = self.store.stage("online", train_policy_online.run, config, inputs)
        spent = Counter({int(task): count for task, count in online.per_task.items()})
        return Trained(Path(online.policy), None, seen + spent)

    def _demonstrations_seen(self, folder: str) -> Counter[int]:
        """Demonstrations per task that imitation reads: as many successful ones as it may, at most."""
        episodes = EpisodeSet(Path(folder)).summaries()
        found = Counter(e.task.task for e in episodes if e.succeeded and e.source == "expert")
        return Counter({task: min(count, self.recipe.sft.demonstrations) for task, count in found.items()})


def real_budget(recipe: Recipe) -> int:
    """Real episodes that an arm may spend on training over all tasks, demonstrations and gate included."""
    rounds, tasks = recipe.practice_rounds, len(recipe.tasks)
    evolved = (rounds - 1) * recipe.collect_evolved.episodes
    per_task = recipe.collect.clean + recipe.collect.faulty + recipe.collect_base.episodes + evolved
    return per_task * tasks + rounds * recipe.rl.gate.replays(recipe.rl.updates, tasks)


def _per_task(folders: Sequence[str]) -> Counter[int]:
    return Counter(e.task.task for folder in folders for e in EpisodeSet(Path(folder)).summaries())


def _gate_replays(outputs: train_policy_rl.PolicyRLOutputs) -> Counter[int]:
    return Counter({int(task): len(found["depths"]) for task, found in outputs.gate.items()})
