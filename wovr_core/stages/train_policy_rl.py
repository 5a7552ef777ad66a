"""Masked GRPO in imagination: the policy improves on groups of rollouts that the world model draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wovr_core.adapters import LoRAConfig, add_adapters, merge_adapters, trainable
from wovr_core.audit.gate import GateConfig
from wovr_core.config import LATER
from wovr_core.data.corrections import CorrectionSet, corrections_version
from wovr_core.data.episode_files import write_rollout
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.errors import WovrError
from wovr_core.imagination import imagine_groups
from wovr_core.model_files import POLICY, load_policy, save_model
from wovr_core.policy.base import Policy, TrainablePolicy
from wovr_core.rl.advantages import has_contrast, is_degenerate
from wovr_core.rl.group_batch import GroupBatch, of_rollouts
from wovr_core.rl.grpo_loss import GRPOConfig, grpo_loss, reference_divergence
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator, draw_keyframes, make_env
from wovr_core.stages.rl_corrections import RLCorrections
from wovr_core.stages.rl_gate import GateSimulator, RLGate
from wovr_core.stages.rl_real import RealEpisodes, RealFolders
from wovr_core.stages.training import Stateful, Training, set_learning_rate
from wovr_core.types import RolloutGroup
from wovr_core.world_model.compiled import compiled_blocks

REAL_EPISODES = 16
"""What `rl.real_episodes` is unless it is set."""


@dataclass(frozen=True)
class PolicyRLConfig:
    """What one update imagines, and how far it steps."""

    updates: int = 6
    groups: int = 6
    """Keyframes per update."""
    group_size: int = 8
    chunks: int = 10
    temperature: float = 1.0
    """Of the behaviour, and of the log-probabilities in the loss."""
    discount: float = 0.995
    """Per action: an earlier success is worth more."""
    solver_steps: int = 1
    every_frame: bool = True
    """Draw and judge each imagined frame; otherwise only each chunk's last one."""
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    success_share: tuple[float, float] = (0.1, 0.9)
    """Groups of which fewer or more siblings succeed are dropped."""
    outcome_worth: float = 0.0
    """What the reward classifier's prediction at a rollout's end is worth, where it did not succeed; an imagined
    success is worth 1. Needs reward.model.outcome; 0 leaves the prediction out."""
    least_spread: float = 0.15
    """With outcome_worth: groups whose returns lie closer together than this are dropped, in place of
    `success_share`."""
    reference_weight: float = 0.0
    """Of a penalty on leaving the policy that practice began with. WoVR has none; with few rollouts an update, it keeps
    their noise from carrying the policy off."""
    trace: float | None = None
    """With outcome_worth: credit single chunks with what they changed in the prediction, λ of a λ-return over chunks;
    then no group is dropped. None: whole rollouts, as GRPO does."""

    correlation: float | None = field(default=None, metadata=LATER)
    """Of the policy's draws along a chunk, in [0, 1). Independent draws cancel within a chunk, and siblings hardly
    differ; correlated ones move the arm. None: independent."""
    shared_noise: bool | None = field(default=None, metadata=LATER)
    """Siblings share the world model's noise. None: each has its own."""
    compile: bool | None = field(default=None, metadata=LATER)
    """Compile the world model's blocks (torch.compile); needs a C++ compiler."""
    real_weight: float | None = field(default=None, metadata=LATER)
    """What the real episodes that the world model learned from weigh in an update beside all that is imagined
    (`rl_real`). WoVR has none. None: practice in imagination alone."""
    real_episodes: int | None = field(default=None, metadata=LATER)
    """With real_weight: how many of them an update reads for each task and folder; 16 unless set."""

    def __post_init__(self) -> None:
        if self.correlation is not None and not 0 <= self.correlation < 1:
            raise WovrError(f"rl.correlation must lie in [0, 1), got {self.correlation}")
        if self.trace is not None and not (self.outcome_worth and 0 <= self.trace <= 1):
            raise WovrError(f"rl.trace must lie in [0, 1] and needs rl.outcome_worth above 0, got {self.trace}")
        if self.real_weight is not None and self.real_weight < 0:
            raise WovrError(f"rl.real_weight must not be negative, got {self.real_weight}")
        if self.real_episodes is not None and self.real_episodes < 2:
            raise WovrError(f"rl.real_episodes must be at least 2, got {self.real_episodes}: one alone has no contrast")

    epochs: int = 2
    """Passes over each update's groups."""
    learning_rate: float = 2e-5
    """As RLinf published it. Larger steps follow the world model's errors: watch real success beside imagined."""
    kept_groups: int = 2
    """Groups of each update whose rollouts are written down, to be looked at."""
    post_success_mask: bool = True
    """Leave out what follows a rollout's first success; without it every step counts alike (the ablation)."""
    gate: GateConfig = field(default_factory=GateConfig)
    """Real audits during RL that shorten or stop a task's practice; off unless `gate.every` is set."""
    lora: LoRAConfig | None = None
    """Train adapters only and merge them at the end: for large policies."""


@dataclass(frozen=True)
class PolicyRLInputs:
    simulator: Simulator
    keyframes: str
    keyframes_version: str
    seed: int
    gate: GateSimulator | None = None
    """Where the gate audits; may be None while it is off."""
    corrections: Path | None = None
    """A set of corrections (`data.corrections`); what they do here: see `rl_corrections`."""
    real: RealFolders | None = None
    """What `rl.real_weight` reads; see `real_folders`."""


def real_folders(config: PolicyRLConfig, folders: Sequence[str], versions: Sequence[str]) -> RealFolders | None:
    """`PolicyRLInputs.real`: None where practice reads no real episodes, so that what is made of imagination alone does
    not depend on them."""
    return RealFolders(tuple(folders), tuple(versions)) if config.real_weight else None


@dataclass(frozen=True)
class PolicyRLOutputs:
    policy: str
    version: str
    groups: int
    informative_groups: int
    """Groups whose siblings ended differently (`success_share`); the others were dropped."""
    rollouts: str
    parameter_change: float
    """Euclidean distance of the weights from those at the start, over their norm."""
    gate: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """`RLGate.to_dict`: per task, the final length and every audited success."""
    gate_replays: int = 0
    """Real episodes that the gate spent."""
    corrections: str = ""
    """Version of the corrections that were heeded, if any."""


def run(
    config: PolicyRLConfig, inputs: PolicyRLInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> PolicyRLOutputs:
    """All updates; resumes after the last complete one."""
    if inputs.corrections and not config.post_success_mask:
        raise WovrError("corrections mask the loss; without rl.post_success_mask there is no mask to add to")
    corrected = corrections_version(inputs.corrections)
    versions = inputs.simulator.versions() | {"keyframes": inputs.keyframes_version, "seed": str(inputs.seed)}
    versions |= corrected
    if config.real_weight:
        versions["real"] = ",".join(_needed(inputs.real).versions)
    folder = StageFolder(out_dir, "train_policy_rl", config, versions, on_metrics)
    finished = folder.outputs(PolicyRLOutputs)
    if finished:
        return finished
    policy, start_version = load_policy(inputs.simulator.policy)
    start = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    reference = load_policy(inputs.simulator.policy)[0] if config.reference_weight else None
    env = make_env(inputs.simulator, config.solver_steps, config.chunks, config.every_frame)
    keyframes = read_keyframes(Path(inputs.keyframes))
    if config.lora:
        add_adapters(policy, config.lora, derive_seed(inputs.seed, "adapters"), keep=())
    learning = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.0, weight_decay=0.0)
    tally = GroupTally()
    corrections = RLCorrections(CorrectionSet(inputs.corrections) if inputs.corrections else None, start_version)
    real = _real_episodes(config, inputs)
    gate = RLGate(config.gate, config.chunks, {k.task.task for k in keyframes}, inputs.gate, inputs.seed)

    credit: dict[str, Any] = {
        "outcome_worth": config.outcome_worth,
        "discount": config.discount,
        "trace": config.trace,
    }
    modules: dict[str, Stateful] = {"policy": trainable(policy) if config.lora else policy, "tally": tally}
    if config.gate.every:
        modules["gate"] = gate
    with (
        _compiled(env.model, bool(config.compile)),
        Training(folder, steps=config.updates, modules=modules, optimizer=optimizer, log_every=1) as training,
    ):
        for update in training:
            set_learning_rate(optimizer, config.learning_rate)
            open_keyframes = gate.open_keyframes(keyframes)
            if not open_keyframes:  # the gate has stopped every task
                training.log({"groups": 0.0, "informative_groups": 0.0})
                continue
            groups = imagine_groups(
                policy,
                env,
                draw_keyframes(open_keyframes, config.groups, inputs.seed, "rl", update),
                group_size=config.group_size,
                chunks=config.chunks,
                temperature=config.temperature,
                discount=config.discount,
                seed=derive_seed(inputs.seed, "rl", update),
                versions=versions,
                correlation=config.correlation or 0.0,
                shared_noise=bool(config.shared_noise),
            )
            for group in groups[: config.kept_groups]:
                for rollout in group.rollouts:
                    write_rollout(folder.path / "rollouts", rollout)
            audited = gate.audit(update, groups)
            batches = [
                of_rollouts(gate.admit(group), config.post_success_mask, **credit)
                for group in corrections.bound(groups)
                if gate.chunks[group.rollouts[0].task.task]
            ]
            batches += [of_rollouts(group, **credit) for group in corrections.replayed(update)]
            executed = real.batches(update) if real else ()
            metrics = learn(policy, optimizer, batches, config, tally, reference, executed)
            bounded = {"bounded_rollouts": float(corrections.bounded)} if inputs.corrections else {}
            training.log(_summary(groups) | metrics | audited | bounded)

    if config.lora:
        merge_adapters(policy)
    path = folder.path / "policy"
    lineage = {k: v for k, v in versions.items() if k != "policy"} | {"parent": start_version}
    version = save_model(path, POLICY, policy, lineage=lineage)
    moved = torch.nn.utils.parameters_to_vector(policy.parameters()).detach() - start
    return folder.finish(
        PolicyRLOutputs(
            policy=str(path),
            version=version,
            groups=tally.groups,
            informative_groups=tally.informative,
            rollouts=str(folder.path / "rollouts"),
            parameter_change=float(moved.norm() / start.norm()),
            gate=gate.to_dict() if config.gate.every else {},
            gate_replays=gate.replays,
            corrections=corrected.get("corrections", ""),
        )
    )


def learn(
    policy: TrainablePolicy,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[GroupBatch],
    config: PolicyRLConfig,
    tally: GroupTally,
    reference: Policy | None = None,
    real: Sequence[GroupBatch] = (),
) -> dict[str, float]:
    """One update, imagined or real: `epochs` steps on those groups whose members ended differently.

    Args:
        reference: the policy that practice began with, where `reference_weight` is set.
        real: groups that were executed, beside imagined ones; together they weigh `real_weight`, and their metrics
            begin with "real_".
    """
    informative = [batch for batch in batches if is_informative(batch, config)]
    executed = [batch for batch in real if is_informative(batch, config)]
    tally.add(len(batches), len(informative))
    metrics: dict[str, float] = {}
    learned = informative + executed
    weights = [1.0 / len(informative) for _ in informative]
    weights += [(config.real_weight or 0.0) / len(executed) for _ in executed]
    references: list[torch.Tensor | None] = [None] * len(learned)
    if config.reference_weight:
        assert reference is not None
        with torch.no_grad():
            references = [_log_probs(reference, batch, config.temperature) for batch in learned]
    for _ in range(config.epochs if learned else 0):
        optimizer.zero_grad()
        parts = []
        for batch, weight, before in zip(learned, weights, references, strict=True):
            loss, part = batch_loss(policy, batch, config, before)
            (loss * weight).backward()
            parts.append(part)
        metrics = _means(parts[: len(informative)])
        metrics |= {f"real_{key}": value for key, value in _means(parts[len(informative) :]).items()}
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        metrics["gradient_norm"] = float(norm)
        optimizer.step()
    return {"informative_groups": float(len(informative)), "groups": float(len(batches))} | _spread(batches) | metrics


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: sum(part[key] for part in parts) / len(parts) for key in parts[0]} if parts else {}


def _real_episodes(config: PolicyRLConfig, inputs: PolicyRLInputs) -> RealEpisodes | None:
    if not config.real_weight:
        return None
    count, folders = config.real_episodes or REAL_EPISODES, _needed(inputs.real).folders
    return RealEpisodes(folders, count, config.discount, config.post_success_mask, inputs.seed)


def _needed(real: RealFolders | None) -> RealFolders:
    if real is None:
        raise WovrError("rl.real_weight is set, but practice was handed no folders of real episodes")
    return real


def _compiled(model: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """The world model's blocks compiled, where that is asked for; a plug-in's world model may have none."""
    if not enabled:
        return nullcontext()
    transformer = getattr(model, "transformer", None)
    if transformer is None:
        raise WovrError(f"{type(model).__name__} has no transformer whose blocks could be compiled: unset rl.compile")
    return compiled_blocks(transformer)


def _spread(batches: Sequence[GroupBatch]) -> dict[str, float]:
    """Over all groups, dropped ones too: the mean return, and how far siblings' returns lie apart."""
    if not batches:
        return {}
    deviations = [float(batch.returns.std(correction=0)) for batch in batches]
    means = [float(batch.returns.mean()) for batch in batches]
    return {"group_return": sum(means) / len(means), "group_spread": sum(deviations) / len(deviations)}


def is_informative(batch: GroupBatch, config: PolicyRLConfig) -> bool:
    """Whether the group's members ended differently enough to learn from; the others are dropped."""
    if batch.advantages is not None:
        return bool(batch.advantages.abs().max() > 0)
    if config.outcome_worth:
        return float(batch.returns.max() - batch.returns.min()) >= config.least_spread
    return not is_degenerate(batch.returns) and has_contrast(batch.returns > 0, *config.success_share)


def batch_loss(
    policy: TrainablePolicy, batch: GroupBatch, config: PolicyRLConfig, reference: torch.Tensor | None = None
) -> tuple[torch.Tensor, dict[str, float]]:
    """The masked GRPO loss of one group: every chunk is decided anew from the frame at its head.

    reference: (G, K, C, A) log-probabilities under the policy that practice began with, for the penalty.
    """
    log_probs = _log_probs(policy, batch, config.temperature)
    loss, metrics = grpo_loss(log_probs, batch.log_probs, batch.returns, batch.loss_mask, config.grpo, batch.advantages)
    if config.reference_weight:
        assert reference is not None
        divergence = reference_divergence(log_probs, reference, batch.loss_mask)
        loss, metrics["reference_kl"] = loss + config.reference_weight * divergence, float(divergence.detach())
    return loss, metrics


def _log_probs(policy: Policy, batch: GroupBatch, temperature: float) -> torch.Tensor:
    """(G, K, C, A) of the group's tokens."""
    size, chunks = batch.tokens.shape[:2]
    return policy.log_prob(
        batch.frames.flatten(0, 1),
        [batch.instruction] * (size * chunks),
        batch.previous_actions.flatten(0, 1),
        batch.tokens.flatten(0, 1),
        temperature=temperature,
    ).unflatten(0, (size, chunks))


def _summary(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    rewards = torch.cat([torch.from_numpy(g.rewards) for g in groups])
    return {
        "imagined_success_rate": float((rewards > 0).float().mean()),
        "imagined_return": float(rewards.mean()),
    }


class GroupTally:
    """Counts groups across resumes."""

    def __init__(self) -> None:
        self.groups = self.informative = 0

    def add(self, groups: int, informative: int) -> None:
        self.groups += groups
        self.informative += informative

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"counts": torch.tensor([self.groups, self.informative])}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.groups, self.informative = (int(v) for v in state["counts"])
